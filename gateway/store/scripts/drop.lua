local id, fence, kept, max_answers = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local payment = find(id)
if not payment or payment.fence ~= fence or payment.state ~= 'reserved' or payment.queued then
  return 0
end
if payment.attempts == 1 then
  forget(id, payment)
else
  release(id, payment, payment.forget_at, kept)
  make_room(max_answers)
end
return 1
