-- wrk -s load.lua URL -- [FILE HEADER]: sends each line of FILE once, its path with HEADER; or plain requests.
-- Ends with one line of JSON. wrk waits for its time to be over even where there is nothing left to send:
-- what was measured is then no rate, and "ran_out" says so.
local lines, header = nil, nil
local threads = {}
ran_out = false

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  if args[1] then
    lines, header = io.lines(args[1]), args[2]
  end
end

function request()
  if not lines then return wrk.format() end
  local line = not ran_out and lines()
  if not line then
    ran_out = true
    wrk.thread:stop()
    return wrk.format()
  end
  local path, value = line:match("^(%S+) (%S+)$")
  return wrk.format(nil, path, { [header] = value })
end

function done(summary, latency, requests)
  local errors, spent = summary.errors, false
  for _, thread in ipairs(threads) do spent = spent or thread:get("ran_out") end
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, "refused": %d, "failed": %d, "ran_out": %s}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, spent and "true" or "false"))
end
