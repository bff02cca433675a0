local before, keys_max, limit = take(), tonumber(take()), tonumber(take())
local beyond = redis.call('ZCARD', p .. 'idempotency_age') - keys_max
local old = redis.call('ZCOUNT', p .. 'idempotency_age', '-inf', '(' .. before)
local count = math.min(math.max(beyond, old), limit)
if count <= 0 then
    return 0
end
local forgotten = redis.call('ZPOPMIN', p .. 'idempotency_age', count)
for n = 1, #forgotten, 2 do
    local key = forgotten[n]
    local uid = string.sub(redis.call('HGET', p .. 'idempotency', key) or '', 33)
    redis.call('HDEL', p .. 'idempotency', key)
    redis.call('HDEL', p .. 'idempotency_of', uid)
end
return #forgotten / 2
