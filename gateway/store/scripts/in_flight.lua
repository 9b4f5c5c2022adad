local rows, found = {}, {}
for _, id in ipairs(redis.call('HKEYS', 'tollway:purse:' .. ARGV[1])) do
  local payment = load(id)
  if payment then
    table.insert(found, {id, payment})
  else
    redis.call('HDEL', 'tollway:purse:' .. ARGV[1], id)
  end
end
table.sort(found, function(a, b) return a[2].seq < b[2].seq end)
for _, pair in ipairs(found) do
  table.insert(rows, row(pair[1], pair[2]))
end
return {NOW, rows}
