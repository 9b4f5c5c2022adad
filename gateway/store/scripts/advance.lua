local id, fence, to, since = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local in_flight, keep_lease, queued = ARGV[5] == '1', ARGV[6] == '1', ARGV[7]
local forget_at, max_answers = tonumber(ARGV[8]), tonumber(ARGV[9])
-- Then pairs: whether there is a value, and the value.
local function given(at)
  return ARGV[at] == '1' and ARGV[at + 1] or nil
end
local tx, reason, answer = given(10), given(12), given(14)

local function join_queue(payment)
  if not payment.queued then
    payment.queued = payment.queue
    redis.call('ZADD', key('queue', payment.queue), MICROS, id)
  end
end

-- An answer may make room for others only once its payment is no longer in flight.
local function free_or_bind(payment)
  if payment.in_flight and payment.answer_free then
    redis.call('ZREM', 'tollway:answers', id)
    payment.answer_free = nil
  elseif not payment.in_flight and not payment.answer_free then
    redis.call('ZADD', 'tollway:answers', MICROS, id)
    payment.answer_free = MICROS
  end
end

local function make_room(ours)
  while tonumber(redis.call('GET', 'tollway:answer-bytes') or 0) > max_answers do
    local oldest = redis.call('ZRANGE', 'tollway:answers', 0, 0)[1]
    if not oldest then
      return
    end
    if oldest == id then
      drop_answer(id, ours)
    else
      drop_answer_of(oldest)
    end
  end
end

local payment = find(id)
if not payment or payment.fence ~= fence or not one_of(since, payment.state) then
  return 0
end
transit(id, payment, to)
count_in_purse(id, payment, in_flight)
payment.tx = tx or payment.tx
payment.reason = reason or payment.reason
payment.forget_at = forget_at
if not keep_lease then
  payment.leased_until = 0
end
if queued == '1' then
  join_queue(payment)
elseif queued == '0' then
  leave_queue(id, payment)
end
schedule(id, payment)
if answer then
  drop_answer(id, payment)
  redis.call('SET', key('answer', id), answer)
  redis.call('INCRBY', 'tollway:answer-bytes', #answer)
  payment.answer = #answer
end
if payment.answer then
  free_or_bind(payment)
  make_room(payment)
end
save(id, payment)
return 1
