-- @include fall_and_release
-- @include budget_sums
-- @include metrics
-- The end of waiting and of a lease, and a new start. The end of a job is in finish_job.lua.

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
  note_unreadable_job(id, why)
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

-- A job that may be crashing its workers waits beside its queue: one worker lets its other calls end, then runs it alone.
-- `why` nil: the caller writes the event.
local function schedule_suspect(id, queue, why, now)
  schedule(id, queue, now)
  redis.call('ZADD', SUSPECTS .. pool_of(queue), now, id)
  wake_worker(queue)
  if why then add_event(id, cjson.encode({event = 'queued', at = now, queue = queue, position = 1, why = why})) end
end

-- Let a job start again: its attempts stay in its history and count no longer. `forgive`: a person or a producer
-- requested it, so its crashes, falls and strikes count no longer either.
local RESTART_GRACE_MS = 2000
local function requeue_fresh(id, queue, at_front, why, now, forgive)
  local record = RECORD .. id
  local job = fields(record, 'history', 'attempts', 'deadline', 'suspect')
  if job.attempts then
    redis.call('HSET', record, 'history', job.history and (job.history .. '\n' .. job.attempts) or job.attempts)
  end
  redis.call('ZADD', UNFINISHED, 'XX', math.min(now + RESTART_GRACE_MS, tonumber(job.deadline) or now), id)
  redis.call('HDEL', record, 'attempts', 'status', 'ended', 'lease', 'fell_lease', 'default_fallback')
  redis.call('HSET', record, 'replied', 1)  -- its caller has had a reply or a result: no `reply_within` applies
  if forgive then redis.call('HDEL', record, 'crashes', 'crashes_alone', 'falls', 'strikes', 'notified') end
  if job.suspect then redis.call('HDEL', record, 'suspect') end
  if job.suspect and not forgive then
    schedule_suspect(id, queue, why, now)
  else
    enqueue_with_event(id, queue, at_front, why, now)
  end
end
