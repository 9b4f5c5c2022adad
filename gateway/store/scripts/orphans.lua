local found = {}
local ids = redis.call('ZREVRANGE', 'tollway:orphans', 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #ids, 2 do
  table.insert(found, {redis.call('HGET', 'tollway:orphan', ids[i]), math.floor(ids[i + 1] / 1000)})
end
return found
