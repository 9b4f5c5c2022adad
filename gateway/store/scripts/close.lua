-- A closed transaction goes with its last payment; one whose payments are gone, after the replay window.
local sender, body, window = ARGV[1], ARGV[2], tonumber(ARGV[3])
redis.call('ZREM', 'tollway:open:' .. sender, body)
local wanted = false
for i = 4, #ARGV do
  if redis.call('EXISTS', 'tollway:payment:' .. ARGV[i]) == 1 then
    wanted = true
  else
    redis.call('PEXPIRE', 'tollway:sent:' .. ARGV[i], window)
  end
end
if #ARGV > 4 then
  local name = redis.sha1hex(body)
  redis.call('SET', 'tollway:closed:' .. name, 1)
  if not wanted then
    for _, kind in ipairs({'batch:', 'shares:', 'closed:'}) do
      redis.call('PEXPIRE', 'tollway:' .. kind .. name, window)
    end
  end
end
