-- Put a held job back into the queue it fell from, at the front. Everything is forgiven; what was tried stays told.
-- ARGV: clock, id
-- Reply: {'queued' | state | 'gone'}
local now, id = clock(), ARGV[2]
local r = redis.call('HMGET', RECORD .. id, 'state', 'fell_from')
if not r[1] then return {'gone'} end
if r[1] ~= 'held' then return {r[1]} end
unhold(id, now, 'replayed')
renew(id, r[2], true, 'replayed', now, true)
count('replayed')
return {'queued'}
