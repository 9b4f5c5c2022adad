local function drop_answer(id, payment)
  if payment.answer then
    redis.call('DEL', 'tollway:answer:' .. id)
    redis.call('DECRBY', 'tollway:answer-bytes', payment.answer)
    if payment.answer_place then
      redis.call('ZREM', 'tollway:answers:' .. payment.answer_place, id)
    end
    payment.answer, payment.answer_place, payment.answer_free = nil, nil, nil
  end
end

local function drop_answer_of(id, place)
  local payment = load(id)
  if payment then
    drop_answer(id, payment)
    save(id, payment)
  else
    redis.call('DECRBY', 'tollway:answer-bytes', redis.call('STRLEN', 'tollway:answer:' .. id))
    redis.call('DEL', 'tollway:answer:' .. id)
    redis.call('ZREM', 'tollway:answers:' .. place, id)
  end
end

-- The windows begin when the payment is no longer in flight. Spare answers are delivered, or nobody
-- paid for them: only they make room.
local function file_answer(id, payment)
  if not payment.answer then
    return
  end
  local place = nil
  if not payment.in_flight then
    local spare = payment.delivered_at or not one_of(OWED, payment.state)
    place = spare and 'spare' or 'owed'
  end
  if place ~= payment.answer_place then
    if payment.answer_place then
      redis.call('ZREM', 'tollway:answers:' .. payment.answer_place, id)
    end
    payment.answer_free = place and (payment.answer_free or MICROS) or nil
    if place then
      redis.call('ZADD', 'tollway:answers:' .. place, payment.answer_free, id)
    end
    payment.answer_place = place
  end
end

-- After every record was saved.
local function make_room(most)
  while tonumber(redis.call('GET', 'tollway:answer-bytes') or 0) > most do
    local oldest = redis.call('ZRANGE', 'tollway:answers:spare', 0, 0)[1]
    if not oldest then
      return
    end
    drop_answer_of(oldest, 'spare')
  end
end
