local id, fence, to, since = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local in_flight, keep_lease, queued = ARGV[5] == '1', ARGV[6] == '1', ARGV[7]
local forget_at, max_answers = tonumber(ARGV[8]), tonumber(ARGV[9])
local lost, redeemed = ARGV[10] == '1', tonumber(ARGV[11])
-- Then pairs: whether there is a value, and the value.
local tx, reason = ARGV[12] == '1' and ARGV[13], ARGV[14] == '1' and ARGV[15]
local answer, note = ARGV[16] == '1' and ARGV[17], ARGV[18] == '1' and ARGV[19]

local payment = find(id)
if not payment or payment.fence ~= fence or not one_of(since, payment.state) then
  return 0
end
-- Others may have passed such a claim over.
if payment.state == 'reserved' and not payment.queued and not live(payment) then
  return 0
end

transit(id, payment, to)
count_in_purse(id, payment, in_flight)
if lost then
  lose(id, payment)
elseif not in_flight then
  expose(payment, 0)
end
if to == 'settled' then
  end_loss(id)
  payment.settled_at = payment.settled_at or NOW
end
payment.redemptions = payment.redemptions + redeemed
payment.tx = tx or payment.tx
payment.reason = reason or payment.reason
payment.note = note or payment.note
payment.forget_at = forget_at

if not keep_lease then
  end_lease(id, payment)
end
if queued == '1' then
  join_queue(id, payment)
elseif queued == '0' then
  leave_queue(id, payment)
end

if answer then
  drop_answer(id, payment)
  redis.call('SET', 'tollway:answer:' .. id, answer)
  redis.call('INCRBY', 'tollway:answer-bytes', #answer)
  payment.answer = #answer
end
file_answer(id, payment)
put(id, payment)
if payment.answer then
  make_room(max_answers)
end
return 1
