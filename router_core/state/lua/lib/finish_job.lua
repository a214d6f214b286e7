-- @include fall_and_release
-- @include metrics
-- The end of a job: its one result is written, its prompt and its waiting records are deleted, its callers are notified.

-- rq keeps a result as a stream. XADD leaves 4 KB of spare room in it; a copy has none.
local function write_rq_result(id, keep_s, entry, keys_to_delete)
  local key, draft = RQ_RESULTS .. id, RQ_RESULTS .. id .. ':draft'
  redis.call('XADD', draft, '*', unpack(entry))
  redis.call('COPY', draft, key, 'REPLACE')
  redis.call('EXPIRE', key, keep_s)
  keys_to_delete[#keys_to_delete + 1] = draft
end

local RQ_END = {  -- how rq shows an end: registry, Result.Type
  finished = {RQ_FINISHED, 1}, failed = {RQ_FAILED, 2}, stopped = {RQ_FAILED, 3}, canceled = {RQ_CANCELED, 2},
}

-- Write the one terminal result of a job. `job` is its record: keep (s), idem, released, incident, promised_until (ms: an
-- interim reply promised the answer until then), keep_unread_s (nil: no inbox or webhook). `ending`: status, rq_status,
-- rq_value, rq_error, keep_prompt, settled, and plain (its events are all in the result: it was queued, delivered once
-- and ended), job_counts (see metrics.lua; nil: they are not known).
local function finish(id, queue, job, ending, result, keys_to_delete, now)
  local record, rq_job = RECORD .. id, RQ_JOB .. id
  if ending.job_counts then metrics.add_jobs(ending.job_counts, now) else metrics.add_job_end(id, queue, ending.status, now) end
  local promised_s = math.ceil(((job.promised_until or 0) - now) / 1000)
  local keep_s = math.max(tonumber(job.keep) or DAY_MS / 1000, tonumber(job.keep_unread_s) or 0, promised_s)
  redis.call('HSET', record, 'state', 'done', 'status', ending.status, 'settled', ending.settled or '', 'ended', now)
  redis.call('HDEL', record, 'lease', 'worker', 'backend', 'digest')  -- the result has what is worth knowing of them
  redis.call('SET', RESULT .. id, result, 'EX', keep_s)
  if ending.keep_prompt then
    redis.call('EXPIRE', PROMPT .. id, keep_s)
  else
    keys_to_delete[#keys_to_delete + 1] = PROMPT .. id
  end
  redis.call('HSET', rq_job, 'status', ending.rq_status, 'origin', queue, 'ended_at', iso(now))
  redis.call('HDEL', rq_job, 'last_heartbeat', 'timeout')
  redis.call('ZREM', RQ_CANCELED .. queue, id)  -- rq's own cancel of a running job put it there
  local registry = RQ_END[ending.rq_status]
  redis.call('ZADD', registry[1] .. queue, math.floor(now / 1000) + keep_s, id)
  local entry = {'type', registry[2]}
  if ending.rq_value then entry[3], entry[4] = 'return_value', ending.rq_value end
  if ending.rq_error then entry[#entry + 1], entry[#entry + 2] = 'exc_string', ending.rq_error end
  write_rq_result(id, keep_s, entry, keys_to_delete)
  redis.call('EXPIRE', record, keep_s)
  redis.call('EXPIRE', rq_job, keep_s)
  redis.call('ZREM', UNFINISHED, id)
  if ending.status ~= 'answered' then  -- the few that a person looks for: a list need not search all jobs for them
    redis.call('ZADD', JOBS_ENDED .. ending.status, number(redis.call('HGET', record, 'accepted'), now), id)
  end
  if job.idem then redis.call('EXPIRE', IDEMPOTENCY .. job.idem, keep_s) end
  if redis.call('PUBLISH', JOB_CHANGED .. id, '') == 0 and ending.plain then
    keys_to_delete[#keys_to_delete + 1] = EVENTS .. id
  else
    redis.call('RPUSH', EVENTS .. id, '{"event":"done","at":' .. ms(now) .. ',"status":"' .. ending.status .. '"}')
    redis.call('EXPIRE', EVENTS .. id, keep_s)
  end
  redis.call('DEL', unpack(keys_to_delete))
  if job.keep_unread_s then notify_producer(id, 'done', result, now) end
  if job.released then end_release(id, job.released, ending.status == 'answered') end
  if job.incident and ending.status == 'answered' then incident_answered(job.incident, now) end
end
