-- Undoes an insertion whose answer never came. If it has not arrived yet, its epoch is shut out and it never will.
local inserted, payload = take(), take()
local uid = redis.call('HGET', session, inserted)
if uid then
    delete_task(tonumber(uid))
    redis.call('HDEL', session, inserted)
end
if payload ~= '' then
    delete_payload(payload)
end
return 0
