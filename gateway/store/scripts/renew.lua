-- A lease that a step has ended stays ended: renewing it late must not keep others away.
local ours = {}
for i = 2, #ARGV, 2 do
  local payment = find(ARGV[i])
  if payment and payment.fence == tonumber(ARGV[i + 1]) then
    table.insert(ours, ARGV[i])
    if payment.leased_until > 0 then
      payment.leased_until = math.max(payment.leased_until, NOW + tonumber(ARGV[1]))
      save(ARGV[i], payment)
    end
  end
end
return ours
