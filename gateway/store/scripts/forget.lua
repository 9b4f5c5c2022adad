redis.call('DEL', 'tollway:fact:' .. ARGV[1])
