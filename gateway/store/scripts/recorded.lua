local found = {}
for i, id in ipairs(ARGV) do
  found[i] = redis.call('EXISTS', key('sent', id))
end
return found
