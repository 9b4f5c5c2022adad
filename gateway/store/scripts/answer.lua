local id, replay_window, owed_window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local payment = find(id)
if payment and payment.answer then
  local window = payment.answer_place == 'owed' and owed_window or replay_window
  if (payment.answer_free or MICROS) > MICROS - window * 1000 then
    return redis.call('GET', 'tollway:answer:' .. id)
  end
end
return false
