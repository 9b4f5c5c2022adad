local sender, epoch, id, body = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local held = redis.call('HMGET', key('hold', sender), 'epoch', 'until', 'owner')
if tonumber(held[1]) ~= epoch or tonumber(held[2]) <= NOW or not alive(held[3]) then
  return 0
end
redis.call('ZADD', key('open', sender), 'NX', MICROS, body)
redis.call('ZADD', key('sent', id), 'NX', MICROS, body)
redis.call('PERSIST', key('sent', id))
return 1
