-- A closed transaction goes with its payment; one whose payment is gone, after the replay window.
local sender, id, body, window = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
redis.call('ZREM', key('open', sender), body)
if redis.call('EXISTS', key('payment', id)) == 0 then
  redis.call('PEXPIRE', key('sent', id), window)
end
