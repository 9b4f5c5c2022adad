local name, value, kept = ARGV[1], ARGV[2], ARGV[3]
if tonumber(kept) > 0 then
  redis.call('SET', 'tollway:fact:' .. name, value, 'PX', kept)
else
  redis.call('DEL', 'tollway:fact:' .. name)
end
