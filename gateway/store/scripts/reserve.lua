local id, digest, lease, max_attempts = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local claim, amount, purse, route, queue = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local function claimable(payment)
  return payment.digest == digest and payment.attempts < max_attempts and
    (payment.state == 'released' or (payment.state == 'reserved' and payment.leased_until <= NOW))
end

local payment = load(id)
if payment and forgotten(payment) then
  forget(id, payment)
  payment = nil
end
if payment and not claimable(payment) then
  return {0, NOW, row(id, payment)}
end

-- A first fence taken from the clock: a holder of an earlier, forgotten record never has this one's.
payment = payment or {
  seq = MICROS, fence = NOW - 1, attempts = 0, created_at = NOW,
  digest = digest, history = '', tx = '', purse = purse, route = route,
}
if payment.purse ~= purse then
  redis.call('HDEL', key('purse', payment.purse), id)
end
if payment.route ~= route then
  redis.call('ZREM', key('route', payment.route), id)
end
drop_answer(id, payment)

payment.fence = payment.fence + 1
payment.attempts = payment.attempts + 1
payment.leased_until = NOW + lease
payment.claim, payment.amount = claim, amount
payment.purse, payment.route, payment.queue = purse, route, queue
payment.reason = ''
mark(payment, 'reserved')
enter(id, payment, 'reserved')
count_in_purse(id, payment, true)
schedule(id, payment)
redis.call('ZADD', 'tollway:all', payment.seq, id)
redis.call('ZADD', key('route', route), payment.seq, id)
save(id, payment)

local others = {}
local claims = redis.call('HGETALL', key('purse', purse))
for i = 1, #claims, 2 do
  if claims[i] ~= id and redis.call('EXISTS', key('payment', claims[i])) == 1 then
    table.insert(others, claims[i + 1])
  end
end
return {1, payment.fence, payment.attempts, payment.created_at, others}
