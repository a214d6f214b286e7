-- Append pieces of an answer to a job's events, or events about its call. Fenced like a settle: a delivery that lost its
-- lease appends nothing.
-- Arguments: id, token, of_answer
-- Bodies: event (JSON)...
-- Reply: 1, or 0 when the delivery is not the current one
local id = args.id
local job = fields(RECORD .. id, 'state', 'lease', 'deltas')
if job.state ~= 'started' or job.lease ~= args.token then return 0 end
for i = 3, #ARGV do redis.call('RPUSH', EVENTS .. id, ARGV[i]) end
if args.of_answer and not job.deltas then redis.call('HSET', RECORD .. id, 'deltas', 1) end
redis.call('PUBLISH', JOB_CHANGED .. id, '')
return 1
