local queue, limit, lease, by = key('queue', ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local PAGE = 100

local function is_due(payment)
  return payment.state == READY or (one_of(TAKEN_UP_AGAIN, payment.state) and not live(payment))
end

local function take(id, payment)
  if one_of(TO_SETTLE, payment.state) then
    transit(id, payment, 'settling')
  end
  payment.updated_at = NOW
  payment.fence = payment.fence + 1
  payment.leased_until, payment.holder = NOW + lease, by
  put(id, payment)
  return row(id, payment)
end

local taken, lost, from = {}, {}, 0
while #taken < limit do
  local ids = redis.call('ZRANGE', queue, from, from + PAGE - 1)
  for _, id in ipairs(ids) do
    local payment = load(id)
    if not payment then
      table.insert(lost, id)
    elseif #taken < limit and is_due(payment) then
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
