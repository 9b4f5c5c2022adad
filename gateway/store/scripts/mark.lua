-- First the delivered ones: a client that took its answer and then left did not go without.
local max_answers, delivered = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 3, #ARGV do
  local id = ARGV[i]
  local payment = find(id)
  if payment and not payment.delivered_at then
    if i - 2 <= delivered then
      payment.delivered_at = NOW
    else
      payment.left = true
    end
    file_answer(id, payment)
    put(id, payment)
  end
end
make_room(max_answers)
