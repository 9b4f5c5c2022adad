local states = {}
for i, id in ipairs(ARGV) do
  local payment = find(id)
  states[i] = payment and payment.state or ''
end
return states
