-- Put a held job back into the queue it fell from, at the front. Its crashes are forgiven; its attempts stay told.
-- ARGV: clock, id
-- Reply: {'queued' | state | 'gone'}
local now, id = clock(), ARGV[2]
local r = redis.call('HMGET', RECORD .. id, 'state', 'queue')
if not r[1] then return {'gone'} end
if r[1] ~= 'held' then return {r[1]} end
remove_waiting(id, 'held', r[2])
renew(id, r[2], true, 'replayed', now)
count('replayed')
return {'queued'}
