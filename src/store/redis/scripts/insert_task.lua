-- The number is given where it is used: numbers rise in the order of commits, and a task that is refused takes none.
local key, digest, used_at = take(), take(), take()
if key ~= '' and redis.call('HEXISTS', p .. 'idempotency', key) == 1 then
    return redis.error_reply('TAKEN by another write')
end
local uid = tonumber(redis.call('GET', p .. 'next_task') or '0')
if uid > 4294967295 then
    return redis.error_reply('NOUIDS left')
end
redis.call('INCR', p .. 'next_task')
if key ~= '' then
    redis.call('HSET', p .. 'idempotency', key, digest .. uid)
    redis.call('ZADD', p .. 'idempotency_age', used_at, key)
    redis.call('HSET', p .. 'idempotency_of', uid, key)
end
local payload = take()
add_parts(payload, tonumber(take()))
redis.call('HSET', p .. 'tasks', uid, take())
redis.call('HINCRBY', p .. 'blocks', math.floor(uid / BLOCK), 1)
local followed, ended = take(), take()
set_life(uid, followed, ended)
for _ = 1, tonumber(take()) do
    local name, value = take(), take()
    set_column(name, #value, uid, value)
end
return answer(uid)
