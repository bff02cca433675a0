-- Somebody leaves. KEYS[1] is what all keys begin with. What it led is free at once; its term ends with the next one's beginning.
local p, id = KEYS[1], ARGV[1]
redis.call('HDEL', p .. 'peers', id)
redis.call('ZREM', p .. 'peers_until', id)
return 0
