local id, fence, kept = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local payment = find(id)
if not payment or payment.fence ~= fence or payment.state ~= 'reserved' or payment.queued then
  return 0
end
if payment.attempts == 1 then
  forget(id, payment)
else
  release(id, payment, payment.forget_at, kept)
end
return 1
