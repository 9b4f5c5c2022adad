-- A page ends when it is full, or when this much has been looked at: then it may be short, with a cursor.
local index, route, before = ARGV[1], ARGV[2], ARGV[3]
local limit, scan = tonumber(ARGV[4]), tonumber(ARGV[5])
local PAGE = 100

local rows, looked, from = {}, 0, before == '' and '+inf' or '(' .. before
while true do
  local page = redis.call('ZREVRANGEBYSCORE', index, from, '-inf', 'WITHSCORES', 'LIMIT', 0, PAGE)
  for i = 1, #page, 2 do
    local id, seq = page[i], page[i + 1]
    local payment = load(id)
    if not payment then
      redis.call('ZREM', index, id)
    elseif not forgotten(payment) and (route == '' or payment.route == route) then
      table.insert(rows, row(id, payment))
    end
    looked = looked + 1
    if #rows == limit or looked == scan then
      return {NOW, rows, seq}
    end
    from = '(' .. seq
  end
  if #page < 2 * PAGE then
    return {NOW, rows, ''}
  end
end
