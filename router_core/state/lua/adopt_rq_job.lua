-- @include fall_and_release
-- @include lifecycle
-- @include finish_job
-- A job enqueued with plain rq names an accepted job: see that the accepted job runs, and end the rq job.
-- A job that waits or runs is left alone. A held or failed one, whose request is still there, is queued again.
-- Arguments: rq_job, id? (absent: it names no job that can run), rq_error (why it failed, if it does), worker,
--   expires_after_ms (for a job that runs again), rq_result_ttl_s
-- Reply: {'queued' | state of the job | 'unknown' | 'again'}
local rq_job, id = args.rq_job, args.id
local queue = redis.call('HGET', RQ_JOB_QUEUES, rq_job)
redis.call('ZREM', RQ_JOBS_TAKEN, rq_job)
redis.call('HDEL', RQ_JOB_QUEUES, rq_job)
if not queue then return {'again'} end
local job = id and fields(RECORD .. id, 'state', 'queue', 'status', 'idem', 'fell_from') or {}
local state = job.state or 'unknown'
if state == 'held' then
  unhold(id, now, 'replayed')
  requeue_fresh(id, job.fell_from or DEGRADE, true, 'asked for again', now, true)
  state = 'queued'
elseif state == 'done' and job.status == 'failed' and redis.call('EXISTS', PROMPT .. id) == 1 then
  for _, key in ipairs({RECORD, PROMPT, RQ_JOB, EVENTS}) do redis.call('PERSIST', key .. id) end
  if job.idem then redis.call('PERSIST', IDEMPOTENCY .. job.idem) end
  redis.call('DEL', RQ_RESULTS .. id, RESULT .. id)
  redis.call('ZREM', RQ_FAILED .. (job.queue or queue), id)
  local deadline = ms(now + args.expires_after_ms)
  redis.call('HSET', RECORD .. id, 'deadline', deadline)
  redis.call('ZADD', UNFINISHED, deadline, id)
  requeue_fresh(id, job.queue == DEGRADE and job.fell_from or job.queue or DEGRADE, false, 'asked for again', now, true)
  state = 'queued'
end
if rq_job == id then  -- rq's own requeue: there is no other job to end. One that cannot run again is shown as it ended
  if state == 'done' then
    local rq_status = ({answered = 'finished', degraded = 'finished', cancelled = 'canceled'})[job.status] or 'failed'
    redis.call('HSET', RQ_JOB .. id, 'status', rq_status)
    redis.call('ZADD', RQ_END[rq_status][1] .. queue, math.floor(now / 1000) + redis.call('TTL', RECORD .. id), id)
  end
  return {state}
end
local ok, ttl_s = state ~= 'unknown', args.rq_result_ttl_s
local key = RQ_JOB .. rq_job
redis.call('HSET', key, 'status', ok and 'finished' or 'failed', 'started_at', iso(now), 'ended_at', iso(now))
redis.call('ZADD', (ok and RQ_FINISHED or RQ_FAILED) .. queue, math.floor(now / 1000) + ttl_s, rq_job)
redis.call('EXPIRE', key, ttl_s)
local keys_to_delete = {}
write_rq_result(rq_job, ttl_s, ok and {'type', 1, 'worker_name', args.worker}
  or {'type', 2, 'worker_name', args.worker, 'exc_string', args.rq_error}, keys_to_delete)
redis.call('DEL', unpack(keys_to_delete))
return {state}
