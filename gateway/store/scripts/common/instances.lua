local function alive(name)
  return redis.call('ZSCORE', 'tollway:seen', name) and true
end

local function there(client)
  return tonumber(redis.call('ZSCORE', 'tollway:seen', client) or 0) >= NOW - SILENT
end

-- Somebody holds the payment.
local function live(payment)
  return payment.leased_until > NOW and alive(payment.holder)
end

-- Nobody works on the payment, and its money cannot move.
local function open(payment)
  return payment.state == 'released' or
    (payment.state == 'reserved' and not payment.queued and not live(payment))
end

local function remove(name)
  redis.call('ZREM', 'tollway:seen', name)
  redis.call('HDEL', 'tollway:instances', name)
end

-- The fields of gateway.store.record.Row, in its order.
local function row(id, p)
  local left = p.left or (not p.delivered_at and not there(p.client))
  return {
    id, p.state, p.fence, p.attempts, p.digest, p.claim, p.created_at, p.updated_at,
    alive(p.holder) and p.leased_until or 0, p.tx, p.reason, p.history, p.moment, p.client,
    left and 1 or 0, p.delivered_at or false, p.settled_at or false, p.redemptions, p.note or '',
  }
end
