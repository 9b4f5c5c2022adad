-- wrk -s load.lua URL -- [FILE]: sends each line of FILE once as a payment, then stops; or plain requests.
-- Ends with one line of JSON.
local lines, header = nil, nil

function init(args)
  if args[1] then
    lines, header = io.lines(args[1]), args[2]
  end
end

function request()
  if not lines then return wrk.format() end
  local line = lines()
  if not line then
    wrk.thread:stop()
    line = ""
  end
  return wrk.format(nil, nil, { [header] = line })
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, "refused": %d, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
