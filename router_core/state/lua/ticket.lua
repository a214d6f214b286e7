-- A job put in with plain rq asks for an accepted job: see that it runs, and end the asking one.
-- A job that already waits or runs is left alone; a held or failed one, whose request is still there, is queued again.
-- ARGV: clock, rq job id, accepted job id ('' : it asks for nothing we run), rq's exc_string if it comes to nothing, worker,
--       give_up (ms) for a job that runs again
-- Reply: {'queued' | state of the job | 'unknown'}
local now = clock()
local ticket, id = ARGV[2], ARGV[3]
local queue = redis.call('HGET', FOREIGN_QUEUE, ticket)
redis.call('ZREM', FOREIGN, ticket)
redis.call('HDEL', FOREIGN_QUEUE, ticket)
if not queue then return {'again'} end
local r = id ~= '' and redis.call('HMGET', RECORD .. id, 'state', 'queue', 'status', 'idem', 'fell_from') or {}
local came = r[1] or 'unknown'
if came == 'held' then
  unhold(id, now, 'replayed')
  renew(id, r[5], true, 'asked for again', now, true)
  came = 'queued'
elseif came == 'done' and r[3] == 'failed' and redis.call('EXISTS', PROMPT .. id) == 1 then
  for _, key in ipairs({RECORD, PROMPT, RQ_JOB, EVENTS}) do redis.call('PERSIST', key .. id) end
  if r[4] then redis.call('PERSIST', IDEMPOTENCY .. r[4]) end
  redis.call('DEL', RQ_RESULTS .. id, RESULT .. id)
  redis.call('ZREM', RQ_FAILED .. r[2], id)
  local deadline = string.format('%.0f', now + tonumber(ARGV[6]))
  redis.call('HSET', RECORD .. id, 'deadline', deadline)
  redis.call('ZADD', OPEN, deadline, id)
  renew(id, r[2] == DEGRADE and r[5] or r[2], false, 'asked for again', now, true)
  came = 'queued'
end
if ticket == id then  -- rq's own requeue: there is nobody else to end; what cannot run again is shown as it ended
  if came == 'done' then
    local rq_status = ({answered = 'finished', degraded = 'finished', cancelled = 'canceled'})[r[3]] or 'failed'
    redis.call('HSET', RQ_JOB .. id, 'status', rq_status)
    redis.call('ZADD', RQ_END[rq_status][1] .. queue, math.floor(now / 1000) + redis.call('TTL', RECORD .. id), id)
  end
  return {came}
end
local ok = came ~= 'unknown'
local job = RQ_JOB .. ticket
redis.call('HSET', job, 'status', ok and 'finished' or 'failed', 'started_at', iso(now), 'ended_at', iso(now))
redis.call('ZADD', (ok and RQ_FINISHED or RQ_FAILED) .. queue, math.floor(now / 1000) + 500, ticket)
redis.call('EXPIRE', job, 500)
local gone = {}
rq_result(ticket, 500, ok and {'type', 1, 'worker_name', ARGV[5]}
  or {'type', 2, 'worker_name', ARGV[5], 'exc_string', ARGV[4]}, gone)
redis.call('DEL', unpack(gone))
return {came}
