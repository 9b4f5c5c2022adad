local function save(id, payment)
  redis.call('SET', 'tollway:payment:' .. id, cmsgpack.pack(payment))
end

local function count_in_purse(id, payment, in_flight)
  if in_flight and not payment.in_flight then
    redis.call('HSET', 'tollway:purse:' .. payment.purse, id, payment.amount)
  elseif payment.in_flight and not in_flight then
    redis.call('HDEL', 'tollway:purse:' .. payment.purse, id)
  end
  payment.in_flight = in_flight
end

-- A record in flight or in a queue is never forgotten, whatever a step asked for.
local function schedule(id, payment)
  local at = not payment.in_flight and not payment.queued and payment.forget_at or nil
  if at ~= payment.scheduled then
    if at then
      redis.call('ZADD', 'tollway:expiry', at, id)
    else
      redis.call('ZREM', 'tollway:expiry', id)
    end
    payment.scheduled = at
  end
end

-- What may be owed, by who waits for it.
local function await(id, payment)
  local waits = nil
  if not payment.delivered_at and (payment.state == 'reserved' or one_of(OWED, payment.state)) then
    waits = (payment.left and '' or payment.client) .. ' ' .. id
  end
  if waits ~= payment.waits then
    if payment.waits then
      redis.call('ZREM', 'tollway:waits:' .. payment.request, payment.waits)
    end
    if waits then
      redis.call('ZADD', 'tollway:waits:' .. payment.request, 0, waits)
    end
    payment.waits = waits
  end
end

-- Save the record, and put it into every index where it belongs now. First what deletes: a store that
-- is out of memory allows it, and then the rest.
local function put(id, payment)
  await(id, payment)
  schedule(id, payment)
  save(id, payment)
end
