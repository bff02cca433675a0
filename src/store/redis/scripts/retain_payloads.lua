local kept = {}
for _ = 1, tonumber(take()) do
    kept[take()] = true
end
local deleted = 0
for _, id in ipairs(redis.call('HKEYS', p .. 'payloads')) do
    if not kept[id] then
        deleted = deleted + delete_payload(id)
    end
end
return deleted
