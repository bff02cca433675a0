local changes = {}

function changes.put_index()
    local uid, record = take(), take()
    redis.call('HSET', p .. 'indexes', uid, record)
end

function changes.delete_index()
    redis.call('HDEL', p .. 'indexes', take())
end

function changes.put_alias()
    local name, record = take(), take()
    redis.call('HSET', p .. 'aliases', name, record)
end

function changes.delete_alias()
    redis.call('HDEL', p .. 'aliases', take())
end

function changes.put_configuration()
    local name, value = take(), take()
    redis.call('HSET', p .. 'configuration', name, value)
end

function changes.update_task()
    local uid, record, followed, ended, columns = tonumber(take()), take(), take(), take(), tonumber(take())
    local is_there = redis.call('HEXISTS', p .. 'tasks', uid) == 1
    if is_there then
        redis.call('HSET', p .. 'tasks', uid, record)
        set_life(uid, followed, ended)
    end
    for _ = 1, columns do
        local name, value = take(), take()
        if is_there then
            set_column(name, #value, uid, value)
        end
    end
end

function changes.delete_task()
    delete_task(tonumber(take()))
end

function changes.forget_key()
    forget_key(tonumber(take()))
end

function changes.delete_payload()
    delete_payload(take())
end

function changes.add_stale()
    for _ = 1, tonumber(take()) do
        redis.call('SADD', p .. 'stale', take())
    end
end

function changes.remove_stale()
    for _ = 1, tonumber(take()) do
        redis.call('SREM', p .. 'stale', take())
    end
end

function changes.put_api_key()
    local uid, record = take(), take()
    redis.call('HSET', p .. 'api_keys', uid, record)
end

function changes.update_api_key()
    local uid, record = take(), take()
    if redis.call('HEXISTS', p .. 'api_keys', uid) == 1 then
        redis.call('HSET', p .. 'api_keys', uid, record)
    end
end

function changes.delete_api_key()
    redis.call('HDEL', p .. 'api_keys', take())
end

function changes.put_admin_session()
    local digest, record = take(), take()
    redis.call('HSET', p .. 'admin_sessions', digest, record)
end

function changes.update_admin_session()
    local digest, record = take(), take()
    if redis.call('HEXISTS', p .. 'admin_sessions', digest) == 1 then
        redis.call('HSET', p .. 'admin_sessions', digest, record)
    end
end

function changes.delete_admin_session()
    redis.call('HDEL', p .. 'admin_sessions', take())
end

function changes.put_webhook()
    local uid, record = take(), take()
    redis.call('HSET', p .. 'webhooks', uid, record)
end

function changes.delete_webhook()
    redis.call('HDEL', p .. 'webhooks', take())
end

function changes.put_default_keys()
    local is_empty = redis.call('HLEN', p .. 'api_keys') == 0
    for _ = 1, tonumber(take()) do
        local uid, record = take(), take()
        if is_empty then
            redis.call('HSET', p .. 'api_keys', uid, record)
        end
    end
end

while taken < #ARGV do
    changes[take()]()
end
return 0
