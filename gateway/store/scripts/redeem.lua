local id, by, lease, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local payment = find(id)
if not payment or payment.redemptions >= most then
  return false
end
if not one_of(REDEEMABLE, payment.state) and not (payment.state == 'serving' and not live(payment)) then
  return false
end
transit(id, payment, 'serving')
payment.updated_at = NOW
payment.fence = payment.fence + 1
end_lease(id, payment)
payment.leased_until, payment.holder = NOW + lease, by
join_queue(id, payment)
put(id, payment)
return payment.fence
