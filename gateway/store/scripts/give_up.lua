local hold = 'tollway:hold:' .. ARGV[1]
if redis.call('HGET', hold, 'owner') == ARGV[2] then
  redis.call('HSET', hold, 'until', 0)
end
