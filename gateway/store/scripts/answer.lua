local id, window = ARGV[1], tonumber(ARGV[2])
local payment = find(id)
if payment and payment.answer and (payment.answer_free or MICROS) > MICROS - window * 1000 then
  return redis.call('GET', key('answer', id))
end
return false
