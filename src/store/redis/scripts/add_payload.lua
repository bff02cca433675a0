local id = take()
add_parts(id, tonumber(take()))
return answer(0)
