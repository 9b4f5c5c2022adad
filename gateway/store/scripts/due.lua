local queue, limit, lease, by = 'tollway:queue:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local PAGE = 100

-- What somebody holds stands in front, thousands at times: it is passed over without being read.
local held = {}
for _, holder in ipairs(redis.call('ZRANGE', 'tollway:seen', 0, -1)) do
  local taken = 'tollway:taken:' .. ARGV[1] .. ' ' .. holder
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', taken, '(' .. NOW_TEXT, '+inf')) do
    held[id] = true
  end
end

local function is_due(payment)
  return payment.state == READY or (one_of(TAKEN_UP_AGAIN, payment.state) and not live(payment))
end

local function take(id, payment)
  if one_of(TO_SETTLE, payment.state) then
    transit(id, payment, 'settling')
  end
  payment.updated_at = NOW
  payment.fence = payment.fence + 1
  if payment.holder ~= by then
    end_lease(id, payment)
  end
  payment.holder, payment.leased_until = by, NOW + lease
  redis.call('ZADD', taken_by(payment), payment.leased_until, id)
  put(id, payment)
  return row(id, payment)
end

local taken, lost, from = {}, {}, 0
while #taken < limit do
  local ids = redis.call('ZRANGE', queue, from, from + PAGE - 1)
  for _, id in ipairs(ids) do
    if #taken == limit then
      break
    elseif not held[id] then
      local payment = load(id)
      if not payment then
        table.insert(lost, id)
      elseif is_due(payment) then
        table.insert(taken, take(id, payment))
      end
    end
  end
  if #ids < PAGE then
    break
  end
  from = from + PAGE
end
if #taken > 0 then
  redis.call('PEXPIRE', 'tollway:taken:' .. ARGV[1] .. ' ' .. by, lease + 60000)
end
for _, id in ipairs(lost) do
  redis.call('ZREM', queue, id)
end
return {NOW, taken}
