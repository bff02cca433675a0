local before, limit = take(), tonumber(take())
local uids = redis.call('ZRANGEBYSCORE', p .. 'ended', '-inf', '(' .. before, 'LIMIT', 0, limit)
for _, uid in ipairs(uids) do
    delete_task(tonumber(uid))
end
return #uids
