local id, orphan = ARGV[1], ARGV[2]
if find(id) or redis.call('HSETNX', 'tollway:orphan', id, orphan) == 0 then
  return 0
end
redis.call('ZADD', 'tollway:orphans', MICROS_TEXT, id)
return 1
