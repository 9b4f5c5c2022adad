local found = {}
for i, id in ipairs(ARGV) do
  found[i] = redis.call('EXISTS', 'tollway:sent:' .. id)
end
return found
