local hold, owner, lease = 'tollway:hold:' .. ARGV[1], ARGV[2], tonumber(ARGV[3])
local held = redis.call('HMGET', hold, 'owner', 'epoch', 'until')
local epoch, ends = tonumber(held[2] or 0), tonumber(held[3] or 0)
if ends <= NOW or not alive(held[1]) then
  epoch, ends = epoch + 1, 0
elseif held[1] ~= owner then
  return false
end
ends = math.max(ends, NOW + lease)
redis.call('HSET', hold, 'owner', owner, 'epoch', epoch, 'until', ends)
return epoch
