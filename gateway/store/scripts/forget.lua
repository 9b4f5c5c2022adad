redis.call('DEL', key('fact', ARGV[1]))
