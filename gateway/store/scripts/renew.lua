-- A lease that has ended stays ended: others may have acted on that.
local ours = {}
for i = 2, #ARGV, 2 do
  local payment = find(ARGV[i])
  if payment and payment.fence == tonumber(ARGV[i + 1]) and live(payment) then
    table.insert(ours, ARGV[i])
    local leased_until = math.max(payment.leased_until, NOW + tonumber(ARGV[1]))
    if payment.queued then
      redis.call('ZADD', taken_by(payment), 'XX', leased_until, ARGV[i])
      redis.call('PEXPIRE', taken_by(payment), tonumber(ARGV[1]) + 60000)
    end
    payment.leased_until = leased_until
    save(ARGV[i], payment)
  end
end
return ours
