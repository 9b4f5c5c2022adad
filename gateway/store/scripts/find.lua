local payment = find(ARGV[1])
return payment and {NOW, row(ARGV[1], payment)}
