local function forget_key(id, payment)
  if payment.keyed and redis.call('GET', 'tollway:keyed:' .. payment.keyed) == id then
    redis.call('DEL', 'tollway:keyed:' .. payment.keyed)
  end
  payment.keyed = nil
end

-- A closed transaction goes with the last of the payments that shared it.
local function forget_shares(id)
  for _, entry in ipairs(redis.call('ZRANGE', 'tollway:sent:' .. id, 0, -1)) do
    if string.sub(entry, 1, 1) == '@' then
      local name = string.sub(entry, 2)
      local shares, closed = 'tollway:shares:' .. name, 'tollway:closed:' .. name
      redis.call('SREM', shares, id)
      if redis.call('EXISTS', shares) == 0 and redis.call('EXISTS', closed) == 1 then
        redis.call('DEL', 'tollway:batch:' .. name, closed)
      end
    end
  end
end

local function forget(id, payment)
  forget_shares(id)
  redis.call('DEL', 'tollway:payment:' .. id, 'tollway:sent:' .. id)
  redis.call('ZREM', 'tollway:all', id)
  redis.call('ZREM', 'tollway:state:' .. payment.state, id)
  redis.call('ZREM', 'tollway:route:' .. payment.route, id)
  redis.call('ZREM', 'tollway:expiry', id)
  redis.call('HDEL', 'tollway:purse:' .. payment.purse, id)
  if payment.waits then
    redis.call('ZREM', 'tollway:waits:' .. payment.request, payment.waits)
  end
  forget_key(id, payment)
  expose(payment, 0)
  leave_queue(id, payment)
  drop_answer(id, payment)
end

-- Back to released, for as long as said, else until it is void or nobody will come back for it.
-- Who had claimed it may only sleep: its fence is gone, too.
local function release(id, payment, forget_at, kept)
  transit(id, payment, 'released')
  payment.fence = payment.fence + 1
  payment.leased_until = 0
  payment.forget_at = forget_at or math.min(payment.void_at, NOW + kept)
  count_in_purse(id, payment, false)
  expose(payment, 0)
  file_answer(id, payment)
  put(id, payment)
end
