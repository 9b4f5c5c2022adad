remove(ARGV[1])
