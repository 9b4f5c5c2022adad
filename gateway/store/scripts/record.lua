-- What several payments share is kept once; each of them has its name (it begins with @, a body with [).
local sender, epoch, body, cared_for = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'
local held = redis.call('HMGET', 'tollway:hold:' .. sender, 'epoch', 'until', 'owner')
if tonumber(held[1]) ~= epoch or tonumber(held[2]) <= NOW or not alive(held[3]) then
  return 0
end
if cared_for then
  redis.call('ZADD', 'tollway:open:' .. sender, 'NX', MICROS_TEXT, body)
end
local entry = body
if #ARGV > 5 then
  local name = redis.sha1hex(body)
  entry = '@' .. name
  redis.call('SET', 'tollway:batch:' .. name, body)
  redis.call('SADD', 'tollway:shares:' .. name, unpack(ARGV, 5))
  redis.call('PERSIST', 'tollway:shares:' .. name)
  redis.call('DEL', 'tollway:closed:' .. name)
end
for i = 5, #ARGV do
  redis.call('ZADD', 'tollway:sent:' .. ARGV[i], 'NX', MICROS_TEXT, entry)
  redis.call('PERSIST', 'tollway:sent:' .. ARGV[i])
end
return 1
