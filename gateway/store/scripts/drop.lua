local id, fence, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local payment = find(id)
if not payment or payment.fence ~= fence or payment.state ~= 'reserved' then
  return 0
end
if payment.attempts == 1 then
  forget(id, payment)
  return 1
end
-- Back to released, with the lifetime it had there before.
transit(id, payment, 'released')
payment.leased_until = 0
payment.forget_at = payment.forget_at or NOW + window
count_in_purse(id, payment, false)
schedule(id, payment)
save(id, payment)
return 1
