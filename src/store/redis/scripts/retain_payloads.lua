local kept = {}
for id in string.gmatch(take(), '%d+') do
    kept[id] = true
end
local deleted = 0
for _, id in ipairs(redis.call('HKEYS', p .. 'payloads')) do
    if not kept[id] then
        deleted = deleted + delete_payload(id)
    end
end
return deleted
