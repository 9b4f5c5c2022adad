local found = {}
for _, entry in ipairs(redis.call('ZRANGE', 'tollway:sent:' .. ARGV[1], 0, -1)) do
  if string.sub(entry, 1, 1) == '@' then
    entry = redis.call('GET', 'tollway:batch:' .. string.sub(entry, 2))
  end
  if entry then
    table.insert(found, entry)
  end
end
return found
