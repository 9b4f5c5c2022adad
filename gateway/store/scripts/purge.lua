-- Deleting comes first in each step: a store that is out of memory still allows it, and then the rest.
local window, batch = tonumber(ARGV[1]), tonumber(ARGV[2])
local expired = redis.call('ZRANGEBYSCORE', 'tollway:expiry', '-inf', NOW, 'LIMIT', 0, batch)
for _, id in ipairs(expired) do
  local payment = load(id)
  if payment then
    forget(id, payment)
  else
    redis.call('ZREM', 'tollway:expiry', id)
    redis.call('ZREM', 'tollway:all', id)
  end
end
local oldest = MICROS - window * 1000
local stale = redis.call('ZRANGEBYSCORE', 'tollway:answers', '-inf', oldest, 'LIMIT', 0, batch)
for _, id in ipairs(stale) do
  drop_answer_of(id)
end
return math.max(#expired, #stale)
