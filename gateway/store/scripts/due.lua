local queue, limit, lease = key('queue', ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local since, to = ARGV[4], ARGV[5]
local PAGE = 100

local function take(id, payment)
  transit(id, payment, to)
  payment.fence = payment.fence + 1
  payment.leased_until = NOW + lease
  save(id, payment)
  return row(id, payment)
end

local taken, lost, from = {}, {}, 0
while #taken < limit do
  local ids = redis.call('ZRANGE', queue, from, from + PAGE - 1)
  for _, id in ipairs(ids) do
    local payment = load(id)
    if not payment then
      table.insert(lost, id)
    elseif #taken < limit and payment.leased_until <= NOW and one_of(since, payment.state) then
      table.insert(taken, take(id, payment))
    end
  end
  if #ids < PAGE then
    break
  end
  from = from + PAGE
end
for _, id in ipairs(lost) do
  redis.call('ZREM', queue, id)
end
return {NOW, taken}
