-- @include fall
-- @include budget
-- @include metrics
-- The ends of waiting, of a lease and of a job, and a new start.

-- Take a job out of where it waits. `counter`: see `unhold`.
local function remove_waiting(id, state, queue, now, counter)
  if state == 'queued' then
    leave_queue(id, queue)
  elseif state == 'scheduled' then
    redis.call('ZREM', RQ_SCHEDULED .. queue, id)
    redis.call('ZREM', SCHEDULED .. pool_of(queue), id)
    redis.call('ZREM', SUSPECTS .. pool_of(queue), id)
  elseif state == 'held' then
    unhold(id, now, counter)
  end
end

-- End a lease, and what its call has reserved (nil: nothing). Its keys are added to `keys_to_delete`, for one DEL of
-- everything at the end. `cost`: see `end_reserve`.
local function end_lease(id, token, queue, backend, keys_to_delete, now, reserve, cost)
  end_reserve(id, token, now, reserve, cost)
  if not token or not backend then return end  -- they cannot be read: the lease ends by itself
  redis.call('ZREM', LEASES .. backend, id .. ':' .. token)
  redis.call('ZREM', RQ_WIP .. queue, id .. ':' .. token)
  keys_to_delete[#keys_to_delete + 1] = RQ_EXECUTION .. id .. ':' .. token
  keys_to_delete[#keys_to_delete + 1] = RQ_EXECUTIONS .. id
end

-- A job that waits again past its deadline is ended by the next sweep: while it ran, no sweep could end it, and the next
-- examination was put off.
local function examine_if_overdue(id, deadline, now)
  if (tonumber(deadline) or 0) <= now then redis.call('ZADD', UNFINISHED, 'XX', now, id) end
end

-- A job whose record or request cannot be read falls as unreadable, with what could be read. `queue`: where it waits (nil:
-- as its record or rq has it).
local function fall_unreadable(id, queue, why, now)
  local record = RECORD .. id
  local job = fields(record, 'state', 'queue', 'accepted', 'deadline', 'keep', 'producer', 'reserve', 'lease')
  job.queue = queue_of(id, job, queue)
  end_reserve(id, job.lease, now, job.reserve, nil)
  local known = {queue = job.queue, producer = '?', accepted = ms(now), deadline = ms(now + DAY_MS), keep = DAY_MS / 1000}
  if not job.deadline then redis.call('HDEL', record, 'has_deadline') end  -- a hold may last longer than this guess
  for name, value in pairs(known) do
    if not job[name] then redis.call('HSET', record, name, value) end
  end
  note_unreadable(record, why)
  count('unreadable_jobs')
  if redis.call('EXISTS', RQ_JOB .. id) == 0 then redis.call('HSET', RQ_JOB .. id, 'created_at', iso(now)) end
  redis.call('ZADD', UNFINISHED, 'NX', job.deadline or known.deadline, id)
  remove_waiting(id, job.state or 'queued', job.queue, now)
  fall(id, 'unreadable', why, now)
end

-- Why a waiting job cannot be read; nil if it can. `job` has state, accepted and deadline.
local function unreadable_part(id, job)
  if not job.state then return 'its record is gone' end
  if not job.deadline then return 'its deadline cannot be read' end
  if not job.accepted then return 'the time of its acceptance cannot be read' end
  if redis.call('STRLEN', PROMPT .. id) == 0 then return 'its request is gone' end
end

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

-- Let a job start again: its attempts stay in its history and count no longer. `forgive`: a person or a producer
-- requested it, so its crashes, falls and strikes count no longer either.
local RESTART_GRACE_MS = 2000
local function requeue_fresh(id, queue, at_front, why, now, forgive)
  local record = RECORD .. id
  local job = fields(record, 'history', 'attempts', 'deadline')
  if job.attempts then
    redis.call('HSET', record, 'history', job.history and (job.history .. '\n' .. job.attempts) or job.attempts)
  end
  redis.call('ZADD', UNFINISHED, 'XX', math.min(now + RESTART_GRACE_MS, tonumber(job.deadline) or now), id)
  redis.call('HDEL', record, 'attempts', 'status', 'ended', 'lease', 'fell_lease', 'default_fallback')
  redis.call('HSET', record, 'replied', 1)  -- its caller has had a reply or a result: no `reply_within` applies
  if forgive then redis.call('HDEL', record, 'crashes', 'crashes_alone', 'falls', 'strikes', 'notified') end
  enqueue_with_event(id, queue, at_front, why, now)
end
