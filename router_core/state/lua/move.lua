-- Move a job that waits to where it has been decided that it should wait: another queue, a later time, or where nothing can
-- serve it.
-- It must be as it was seen: a job that was claimed, moved or ended since is left alone, and so is one that rq's own
-- tools have cancelled or deleted, which is the sweep's to end. Sent twice, it moves once.
-- ARGV: clock, id, deliveries seen, queue seen, why, verb, then by verb:
--   queue: queue, at front (1/0)
--   later: queue, delay (ms)
--   fall:  reason, detail
-- Reply: {'moved' | 'gone', state}
local now, id, queue, why, verb = clock(), ARGV[2], ARGV[4], ARGV[5], ARGV[6]
local record = RECORD .. id
local r = redis.call('HMGET', record, 'state', 'deliveries', 'queue', 'released')
local waits = (r[1] == 'queued' or r[1] == 'scheduled') and redis.call('HGET', RQ_JOB .. id, 'status') == r[1]
local there = verb == 'later' and r[1] == 'scheduled' and ARGV[7] == queue
if not waits or there or (r[2] or '0') ~= ARGV[3] or r[3] ~= queue or redis.call('ZSCORE', SUSPECTS .. pool_of(queue), id) then
  return {'gone', r[1] or ''}
end
remove_waiting(id, r[1], queue, now)
redis.call('HSET', record, 'moved', 1)
count('moved')
if verb == 'queue' then
  local position = enqueue(id, ARGV[7], ARGV[8] == '1', now)
  tell(id, cjson.encode({event = 'queued', at = now, queue = ARGV[7], position = position, why = why}))
elseif verb == 'later' then
  local due = now + tonumber(ARGV[8])
  schedule(id, ARGV[7], due)
  redis.call('ZADD', SCHEDULED .. pool_of(ARGV[7]), due, id)
  tell(id, cjson.encode({event = 'scheduled', at = now, queue = ARGV[7], due = due, why = why}))
elseif verb == 'fall' then
  fall(id, ARGV[7], ARGV[8], now)
end
if r[4] and model_of(redis.call('HGET', record, 'queue')) ~= r[4] then unrelease(id, r[4], false) end
return {'moved', redis.call('HGET', record, 'state')}
