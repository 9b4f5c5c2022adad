-- Deleting comes first in each step: a store that is out of memory still allows it, and then the rest.
local replay_window, owed_window = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept, max_answers, batch = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local function past(index, at)
  return redis.call('ZRANGEBYSCORE', index, '-inf', at, 'LIMIT', 0, batch)
end

local function forget_expired()
  local expired = past('tollway:expiry', NOW)
  for _, id in ipairs(expired) do
    local payment = load(id)
    if payment then
      forget(id, payment)
    else
      redis.call('ZREM', 'tollway:expiry', id)
      redis.call('ZREM', 'tollway:all', id)
    end
  end
  return #expired
end

local function drop_stale(place, window)
  local stale = past('tollway:answers:' .. place, MICROS - window * 1000)
  for _, id in ipairs(stale) do
    drop_answer_of(id, place)
  end
  return #stale
end

-- Round and round through the older claims, so that many live ones hide no dead one.
local function release_abandoned()
  local from = redis.call('GET', 'tollway:swept')
  local claims = redis.call('ZRANGEBYSCORE', 'tollway:state:reserved', from and '(' .. from or '-inf',
    MICROS - ABANDONED * 1000, 'WITHSCORES', 'LIMIT', 0, batch)
  for i = 1, #claims, 2 do
    local id = claims[i]
    local payment = load(id)
    if not payment then
      redis.call('ZREM', 'tollway:state:reserved', id)
    elseif not payment.queued and math.max(payment.leased_until, payment.updated_at) <= NOW - ABANDONED then
      release(id, payment, nil, kept)
    end
  end
  if #claims == 2 * batch then
    redis.call('SET', 'tollway:swept', claims[#claims])
  elseif from then
    redis.call('DEL', 'tollway:swept')
  end
  return #claims / 2
end

local done = math.max(
  forget_expired(), drop_stale('spare', replay_window), drop_stale('owed', owed_window), release_abandoned()
)
make_room(max_answers)
for _, id in ipairs(past('tollway:losses', NOW)) do
  end_loss(id)
end
for _, name in ipairs(past('tollway:seen', NOW - INSTANCE_KEPT)) do
  remove(name)
end
return done
