-- What every script shares; put in front of each of them. The store knows no state's meaning
-- beyond those the protocol names (reserved, released).
--
-- A record may only be missing where Redis was allowed to evict it (durability: accept_loss); then
-- whatever still names it is cleaned up by the script that meets it.
--
-- tollway:payment:<id>    the record (msgpack)         tollway:answer:<id>   the stored answer
-- tollway:all, :state:<s>, :route:<r>                  ids by creation, for listings
-- tollway:purse:<p>       id -> amount in flight       tollway:queue:<q>     ids in the order they joined
-- tollway:expiry          ids by the time they may be forgotten
-- tollway:answers         ids by the time their answer became free to make room for others
-- tollway:answer-bytes    all stored answers together  tollway:hold:<name>   a named lease
-- tollway:open:<sender>, :sent:<id>                    transactions in the order recorded
--
-- Orders are in microseconds: scripts run one after the other and take longer than that.

local time = redis.call('TIME')
local NOW = time[1] * 1000 + math.floor(time[2] / 1000)
local MICROS = time[1] * 1000000 + tonumber(time[2])

local function key(kind, name)
  return 'tollway:' .. kind .. ':' .. name
end

local function load(id)
  local raw = redis.call('GET', key('payment', id))
  return raw and cmsgpack.unpack(raw)
end

local function save(id, payment)
  redis.call('SET', key('payment', id), cmsgpack.pack(payment))
end

local function forgotten(payment)
  return payment.forget_at and payment.forget_at <= NOW and not payment.in_flight and not payment.queued
end

local function find(id)
  local payment = load(id)
  return payment and not forgotten(payment) and payment or nil
end

-- The fields of gateway.store.record.Row, in its order.
local function row(id, p)
  return {
    id, p.state, p.fence, p.attempts, p.digest, p.claim, p.created_at, p.updated_at,
    p.leased_until, p.tx, p.reason, p.history,
  }
end

local function one_of(states, state)
  return string.find(states, ',' .. state .. ',', 1, true) ~= nil
end

-- %.0f: Lua would print a time in milliseconds as 1.8e+12.
local function mark(payment, state)
  payment.history = payment.history .. state .. ':' .. string.format('%.0f', NOW) .. ','
end

local function enter(id, payment, state)
  payment.updated_at = NOW
  if payment.state == state then
    return
  end
  if payment.state then
    redis.call('ZREM', key('state', payment.state), id)
  end
  redis.call('ZADD', key('state', state), payment.seq, id)
  payment.state = state
end

local function transit(id, payment, state)
  if payment.state ~= state then
    mark(payment, state)
  end
  enter(id, payment, state)
end

local function count_in_purse(id, payment, in_flight)
  if in_flight then
    redis.call('HSET', key('purse', payment.purse), id, payment.amount)
  elseif payment.in_flight then
    redis.call('HDEL', key('purse', payment.purse), id)
  end
  payment.in_flight = in_flight
end

-- A record in flight or in a queue is never forgotten, whatever a step asked for.
local function schedule(id, payment)
  if payment.forget_at and not payment.in_flight and not payment.queued then
    redis.call('ZADD', 'tollway:expiry', payment.forget_at, id)
    payment.scheduled = true
  elseif payment.scheduled then
    redis.call('ZREM', 'tollway:expiry', id)
    payment.scheduled = nil
  end
end

local function leave_queue(id, payment)
  if payment.queued then
    redis.call('ZREM', key('queue', payment.queued), id)
    payment.queued = nil
  end
end

local function drop_answer(id, payment)
  if payment.answer then
    redis.call('DEL', key('answer', id))
    redis.call('ZREM', 'tollway:answers', id)
    redis.call('DECRBY', 'tollway:answer-bytes', payment.answer)
    payment.answer = nil
    payment.answer_free = nil
  end
end

local function drop_answer_of(id)
  local payment = load(id)
  if payment then
    drop_answer(id, payment)
    save(id, payment)
  else
    redis.call('DECRBY', 'tollway:answer-bytes', redis.call('STRLEN', key('answer', id)))
    redis.call('DEL', key('answer', id))
    redis.call('ZREM', 'tollway:answers', id)
  end
end

local function forget(id, payment)
  redis.call('DEL', key('payment', id), key('sent', id))
  redis.call('ZREM', 'tollway:all', id)
  redis.call('ZREM', key('state', payment.state), id)
  redis.call('ZREM', key('route', payment.route), id)
  redis.call('ZREM', 'tollway:expiry', id)
  redis.call('HDEL', key('purse', payment.purse), id)
  leave_queue(id, payment)
  drop_answer(id, payment)
end
