local function add_exposure(payer, change)
  if redis.call('HINCRBY', 'tollway:exposure', payer, change) == 0 then
    redis.call('HDEL', 'tollway:exposure', payer)
  end
end

local function expose(payment, amount)
  local before = payment.exposed or 0
  if amount ~= before then
    add_exposure(payment.payer, amount - before)
    add_exposure('*', amount - before)
  end
  payment.exposed = amount > 0 and amount or nil
end

-- What is at risk goes on counting, whatever becomes of the record.
local function lose(id, payment)
  local amount = payment.exposed
  expose(payment, 0)
  if amount and redis.call('ZADD', 'tollway:losses', 'NX', NOW + LOSS_KEPT, id) == 1 then
    redis.call('HSET', 'tollway:loss:' .. id, 'payer', payment.payer, 'amount', amount)
    redis.call('HINCRBY', 'tollway:losers', payment.payer, 1)
    add_exposure(payment.payer, amount)
    add_exposure('*', amount)
  end
end

local function end_loss(id)
  if redis.call('ZREM', 'tollway:losses', id) == 0 then
    return
  end
  local loss = redis.call('HMGET', 'tollway:loss:' .. id, 'payer', 'amount')
  redis.call('DEL', 'tollway:loss:' .. id)
  if loss[1] then
    add_exposure(loss[1], -loss[2])
    add_exposure('*', -loss[2])
    if redis.call('HINCRBY', 'tollway:losers', loss[1], -1) == 0 then
      redis.call('HDEL', 'tollway:losers', loss[1])
    end
  end
end
