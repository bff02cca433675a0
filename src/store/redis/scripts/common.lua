-- What all writing scripts begin with. KEYS[1] is what all keys begin with; ARGV is taken from left to right.
--
-- A script runs alone and reaches the disk whole or not at all. Whatever may refuse a write (no memory, no disk, a replica)
-- refuses a script's first write, so nothing stops half-way.
local p = KEYS[1]
local BLOCK = 65536
local taken = 0

local function take()
    taken = taken + 1
    return ARGV[taken]
end

-- Whoever led in an earlier term writes nothing any more.
local term = take()
if term ~= '' and term ~= (redis.call('GET', p .. 'term') or '0') then
    return redis.error_reply('DEPOSED by a later term')
end

-- An answer that went missing leaves its sender in doubt: the call may have been carried out, or may be still on its way.
-- The sender then goes on with a higher epoch. The first call of that epoch to arrive shuts out all earlier ones, so that
-- none of them can come late and undo what is newer.
local SESSION_S = 7 * 86400
local session = p .. 'session:' .. take()
local epoch = tonumber(take())
local known_epoch = tonumber(redis.call('HGET', session, 'epoch') or '0')
if epoch < known_epoch then
    return redis.error_reply('FENCED by a later epoch')
end
if epoch > known_epoch then
    redis.call('HSET', session, 'epoch', epoch)
    redis.call('EXPIRE', session, SESSION_S)
end

-- Writes that must not happen twice have a number in their session, under which their result is kept until the sender says
-- that it has it.
local write = take()
for _ = 1, tonumber(take()) do
    redis.call('HDEL', session, take())
end
if write ~= '' then
    local result = redis.call('HGET', session, write)
    if result then
        return tonumber(result)
    end
end

local function answer(result)
    if write ~= '' then
        redis.call('HSET', session, write, result)
        redis.call('EXPIRE', session, SESSION_S)
    end
    return result
end

local function set_column(name, width, uid, value)
    redis.call('SETRANGE', p .. name .. ':' .. math.floor(uid / BLOCK), (uid % BLOCK) * width, value)
end

-- Whether the task is followed, and the time by which it may be deleted ('' while it may not).
local function set_life(uid, followed, ended)
    if followed == '1' then
        redis.call('ZADD', p .. 'followed', uid, uid)
    else
        redis.call('ZREM', p .. 'followed', uid)
    end
    if ended ~= '' then
        redis.call('ZADD', p .. 'ended', ended, uid)
    else
        redis.call('ZREM', p .. 'ended', uid)
    end
end

local function forget_key(uid)
    local key = redis.call('HGET', p .. 'idempotency_of', uid)
    if key then
        redis.call('HDEL', p .. 'idempotency_of', uid)
        redis.call('HDEL', p .. 'idempotency', key)
        redis.call('ZREM', p .. 'idempotency_age', key)
    end
end

local function delete_task(uid)
    if redis.call('HDEL', p .. 'tasks', uid) == 1 then
        redis.call('ZREM', p .. 'followed', uid)
        redis.call('ZREM', p .. 'ended', uid)
        set_column('status', 1, uid, '\0')
        local block = math.floor(uid / BLOCK)
        if redis.call('HINCRBY', p .. 'blocks', block, -1) <= 0 then
            redis.call('HDEL', p .. 'blocks', block)
            for _, name in ipairs({ 'status', 'kind', 'index', 'canceled_by', 'enqueued_at', 'started_at', 'finished_at' }) do
                redis.call('UNLINK', p .. name .. ':' .. block)
            end
        end
    end
    forget_key(uid)
end

local function add_parts(id, count)
    for _ = 1, count do
        local step, shard, bytes = take(), take(), take()
        local steps = redis.call('HGET', p .. 'payloads', id) or ','
        if not string.find(steps, ',' .. step .. ',', 1, true) then
            redis.call('HSET', p .. 'payloads', id, steps .. step .. ',')
        end
        local parts = p .. 'payload:' .. id .. ':' .. step
        redis.call('HSET', parts, redis.call('HLEN', parts) .. ':' .. shard .. ':' .. #bytes, bytes)
    end
end

local function delete_payload(id)
    local steps = redis.call('HGET', p .. 'payloads', id)
    if not steps then
        return 0
    end
    for step in string.gmatch(steps, '%d+') do
        redis.call('UNLINK', p .. 'payload:' .. id .. ':' .. step)
    end
    return redis.call('HDEL', p .. 'payloads', id)
end
