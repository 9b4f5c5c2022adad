-- What scripts share; in front of each of them comes what it uses of it (gateway.store.redis_scripts).
-- The store knows no state's meaning beyond those the protocol names; the sets of states (OWED, ...) are
-- gateway.payment's.
--
-- A record may only be missing where Redis was allowed to evict it (durability: accept_loss); then
-- whatever still names it is cleaned up by the script that meets it.
--
-- tollway:payment:<id>    the record (msgpack)         tollway:answer:<id>   the stored answer
-- tollway:all, :state:<s>, :route:<r>                  ids by creation, for listings
-- tollway:purse:<p>       id -> amount in flight       tollway:queue:<q>     ids in the order they joined
-- tollway:taken:<q> <who> ids in a queue by the end of their lease
-- tollway:expiry          ids by the time they may be forgotten
-- tollway:swept           how far the search for abandoned claims came, by creation
-- tollway:waits:<request> "<client> <id>" of what may be owed; no client: it left
-- tollway:keyed:<key>     the id claimed last with an idempotency key
-- tollway:answers:<place> ids by the time their windows began; place is spare or owed
-- tollway:answer-bytes    all stored answers together
-- tollway:exposure        payer -> what deferred payments put at risk; * is the sum
-- tollway:losses          ids by the time they stop counting, :loss:<id> who and how much, :losers how many
-- tollway:seen            instances by their last sign  tollway:instances    name -> JSON
-- tollway:hold:<name>     a named lease
-- tollway:open:<sender>, :sent:<id>                    transactions in the order recorded
-- tollway:batch:<name>    one that several payments share, as @<name> in :sent; :shares:<name> which of
--                         them are not forgotten, :closed:<name> it needs no more care
-- tollway:orphans         ids in the order found       tollway:orphan        id -> JSON
-- tollway:fact:<name>     what a rail remembers, as it is; Redis itself lets it expire
--
-- Orders are in microseconds: scripts run one after the other and take longer than that.

local time = redis.call('TIME')
local MICROS = time[1] * 1000000 + time[2]
local NOW = (MICROS - MICROS % 1000) / 1000
-- The same as texts, without the detour over a number: printing one costs as much as a small command.
local MICROS_TEXT = time[1] .. string.sub('00000' .. time[2], -6)
local NOW_TEXT = string.sub(MICROS_TEXT, 1, -4)

local function load(id)
  local raw = redis.call('GET', 'tollway:payment:' .. id)
  return raw and cmsgpack.unpack(raw)
end

local function forgotten(payment)
  return payment.forget_at and payment.forget_at <= NOW and not payment.in_flight and not payment.queued
end

local function find(id)
  local payment = load(id)
  return payment and not forgotten(payment) and payment or nil
end

local function one_of(states, state)
  return string.find(states, ',' .. state .. ',', 1, true) ~= nil
end

local function mark(payment, state)
  payment.history = payment.history .. state .. ':' .. NOW_TEXT .. ','
end

local function enter(id, payment, state)
  payment.updated_at = NOW
  if payment.state == state then
    return
  end
  if payment.state then
    redis.call('ZREM', 'tollway:state:' .. payment.state, id)
  end
  redis.call('ZADD', 'tollway:state:' .. state, payment.seq, id)
  payment.state = state
end

local function transit(id, payment, state)
  if payment.state ~= state then
    mark(payment, state)
  end
  enter(id, payment, state)
end

local function join_queue(id, payment)
  if not payment.queued then
    payment.queued = payment.queue
    redis.call('ZADD', 'tollway:queue:' .. payment.queue, MICROS_TEXT, id)
  end
end

-- Where it is noted what a holder took out of a queue. A note never outlives the lease: notes are taken
-- back when it ends early, and those of the dead are not looked at.
local function taken_by(payment)
  return 'tollway:taken:' .. payment.queue .. ' ' .. payment.holder
end

local function end_lease(id, payment)
  if payment.queued and payment.leased_until > 0 then
    redis.call('ZREM', taken_by(payment), id)
  end
  payment.leased_until = 0
end

local function leave_queue(id, payment)
  if payment.queued then
    if payment.leased_until > 0 then
      redis.call('ZREM', taken_by(payment), id)
    end
    redis.call('ZREM', 'tollway:queue:' .. payment.queued, id)
    payment.queued = nil
  end
end
