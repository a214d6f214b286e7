-- Add pieces of an answer to a job's events, fenced like a settle: a delivery that lost its lease says nothing more.
-- ARGV: clock, id, token, piece (JSON)...
-- Reply: 1, or 0 when the delivery is not the current one
local r = redis.call('HMGET', RECORD .. ARGV[2], 'state', 'lease', 'deltas')
if r[1] ~= 'started' or r[2] ~= ARGV[3] then return 0 end
for i = 4, #ARGV do redis.call('RPUSH', EVENTS .. ARGV[2], ARGV[i]) end
if not r[3] then redis.call('HSET', RECORD .. ARGV[2], 'deltas', 1) end
redis.call('PUBLISH', NEWS .. ARGV[2], '')
return 1
