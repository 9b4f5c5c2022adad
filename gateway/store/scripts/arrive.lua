local name, slot, run, number, instance = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local known = redis.call('HGETALL', 'tollway:instances')
for i = 1, #known, 2 do
  local other = cjson.decode(known[i + 1])
  if other.slot == slot and (other.run ~= run or other.number == number) then
    remove(known[i])
  end
end
redis.call('HSET', 'tollway:instances', name, instance)
redis.call('ZADD', 'tollway:seen', NOW, name)
