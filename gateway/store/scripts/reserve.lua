local id, digest, lease, max_attempts = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local claim, amount, purse, route, queue = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local by, payer, request, keyed = ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local void_at, redeem_window = tonumber(ARGV[14]), tonumber(ARGV[15])
local moment, exposure = ARGV[16], tonumber(ARGV[17])
local per_payer, total = tonumber(ARGV[18]), tonumber(ARGV[19])

-- 1: paid for. 2: may be paid for. nil: nothing is owed (any more).
local function rank(payment)
  if forgotten(payment) then
    return nil
  elseif payment.state == 'settled' then
    return payment.settled_at > NOW - redeem_window and 1 or nil
  elseif payment.state == 'reserved' then
    return (payment.queued or live(payment)) and 2 or nil
  end
  return one_of(REDEEMABLE, payment.state) and 1 or 2
end

local best = {}
local function consider(waits, member)
  local its_id = string.match(member, ' (.*)$')
  local payment = load(its_id)
  if not payment then
    redis.call('ZREM', waits, member)
    return
  end
  local its_rank = rank(payment)
  if its_rank and (not best.rank or its_rank < best.rank or
      (its_rank == best.rank and payment.seq < best.payment.seq)) then
    best = {rank = its_rank, id = its_id, payment = payment}
  end
end

-- From client to client, not from record to record: many may wait for the same.
local function look_at_clients()
  local waits, from, beside = 'tollway:waits:' .. request, '-', {}
  while true do
    local first = redis.call('ZRANGEBYLEX', waits, from, '+', 'LIMIT', 0, 1)[1]
    if not first then
      return beside
    end
    local client = string.match(first, '^[^ ]*')
    if client ~= '' and there(client) then
      table.insert(beside, client)
    else
      for _, member in ipairs(redis.call('ZRANGEBYLEX', waits, '[' .. client .. ' ', '(' .. client .. '!')) do
        consider(waits, member)
      end
    end
    from = '(' .. client .. '!'
  end
end

local payment = load(id)
if payment and forgotten(payment) then
  forget(id, payment)
  payment = nil
end
if payment and not (payment.digest == digest and payment.attempts < max_attempts and open(payment)) then
  return {0, 'same', NOW, row(id, payment)}
end
local other = keyed ~= '' and redis.call('GET', 'tollway:keyed:' .. keyed)
local standing = other and find(other)
if standing and standing.state ~= 'refused' and not open(standing) then
  return {0, 'keyed', NOW, row(other, standing)}
end
local beside = look_at_clients()
if best.payment then
  return {0, 'lost', NOW, row(best.id, best.payment)}
end

-- A first fence taken from the clock: a holder of an earlier, forgotten record never has this one's.
payment = payment or {
  seq = MICROS, fence = NOW - 1, attempts = 0, created_at = NOW, redemptions = 0,
  digest = digest, history = '', tx = '', purse = purse, route = route, request = request,
}
if payment.purse ~= purse then
  redis.call('HDEL', 'tollway:purse:' .. payment.purse, id)
end
if payment.route ~= route then
  redis.call('ZREM', 'tollway:route:' .. payment.route, id)
end
if payment.waits then
  redis.call('ZREM', 'tollway:waits:' .. payment.request, payment.waits)
end
if payment.keyed and payment.keyed ~= keyed then
  forget_key(id, payment)
end
if payment.exposed then
  expose(payment, 0)
end
drop_answer(id, payment)

if keyed ~= '' then
  redis.call('SET', 'tollway:keyed:' .. keyed, id)
end
payment.fence = payment.fence + 1
payment.attempts = payment.attempts + 1
payment.leased_until, payment.holder, payment.client = NOW + lease, by, by
payment.waits, payment.left, payment.delivered_at, payment.note = nil, nil, nil, nil
payment.in_flight = nil
payment.claim, payment.amount, payment.void_at = claim, amount, void_at
payment.purse, payment.route, payment.queue = purse, route, queue
payment.payer, payment.request, payment.keyed = payer, request, keyed ~= '' and keyed or nil
payment.moment = moment
payment.reason = ''
if moment == 'deferred' then
  local function at_risk(whose)
    return tonumber(redis.call('HGET', 'tollway:exposure', whose) or 0) + exposure
  end
  if redis.call('HEXISTS', 'tollway:losers', payer) == 1 or
      (per_payer and (at_risk(payer) > per_payer or at_risk('*') > total)) then
    payment.moment = 'after'
  else
    expose(payment, exposure)
  end
end
mark(payment, 'reserved')
enter(id, payment, 'reserved')
count_in_purse(id, payment, true)
redis.call('ZADD', 'tollway:all', payment.seq, id)
redis.call('ZADD', 'tollway:route:' .. route, payment.seq, id)
put(id, payment)

local others = {}
local claims = redis.call('HGETALL', 'tollway:purse:' .. purse)
for i = 1, #claims, 2 do
  if claims[i] ~= id and redis.call('EXISTS', 'tollway:payment:' .. claims[i]) == 1 then
    table.insert(others, claims[i + 1])
  end
end
return {1, payment.fence, payment.attempts, payment.created_at, others, payment.moment, beside}
