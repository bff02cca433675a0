-- Who is there, and who leads. KEYS[1] is what all keys begin with. By the clock of Redis: those of the Miroirs may differ.
local p = KEYS[1]
local id, address, candidacy, lease_ms, secret = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function forget(gone)
    redis.call('HDEL', p .. 'peers', gone)
    redis.call('ZREM', p .. 'peers_until', gone)
end

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', p .. 'peers_until', '-inf', now_ms)) do
    forget(gone)
end
if candidacy == 'starts here' then
    local known = redis.call('HGETALL', p .. 'peers')
    for n = 1, #known, 2 do
        if known[n] ~= id and known[n + 1] == address then
            forget(known[n])
        end
    end
end
redis.call('HSET', p .. 'peers', id, address)
redis.call('ZADD', p .. 'peers_until', now_ms + lease_ms, id)

local leader = redis.call('GET', p .. 'leader') or ''
if leader == '' or not redis.call('ZSCORE', p .. 'peers_until', leader) then
    leader = ''
    if candidacy ~= 'no' then
        -- One whose lease has run out and who finds that nobody has led since goes on in its term.
        if redis.call('GET', p .. 'leader') ~= id then
            redis.call('INCR', p .. 'term')
            redis.call('SET', p .. 'leader', id)
        end
        leader = id
    end
end
redis.call('SET', p .. 'peer_secret', secret, 'NX')
return { leader, redis.call('GET', p .. 'term') or '0', redis.call('GET', p .. 'peer_secret'), redis.call('HGETALL', p .. 'peers') }
