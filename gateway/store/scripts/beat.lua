-- Taken out first: a store that is out of memory allows it, and then the rest.
if redis.call('ZREM', 'tollway:seen', ARGV[1]) == 0 then
  return 0
end
redis.call('ZADD', 'tollway:seen', NOW, ARGV[1])
return 1
