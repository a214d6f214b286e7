-- @include repair_turns
-- @include lifecycle
-- Examine jobs that no worker claims. It only finds them: what becomes of each is decided outside and done by `cancel_or_expire`
-- or `move`. Causes:
--   overdue              waits past its deadline
--   late                 waits past its `start_within`; it is examined again a little later
--   stranded             waits in a queue from which no worker can claim now, as the caller has seen
--   blocked              the same for jobs with time; a queue may be long, so each second another part of it is examined
--   cancelled, deleted   with rq's own tools, without our record
-- A job that a stock `rq worker` or a tool has taken off its list is put back here, since neither can carry it out.
-- Arguments: limit, clean_registries, stranded_queues (at most `limit` jobs of each), blocked_queues (at most `limit` jobs of
--   all of them together), recheck_ms (by urgency: when a late job is examined again),
--   head_bytes (no head of an envelope is longer; its body may be megabytes and is not read)
-- Reply: {now, {id, deliveries, cause, attempts, deadline, accepted, queue, envelope's head, {answer...}, default fallback,
--   1 if its caller has had a reply of Open Fall}...}
local MAX_SEARCHED, MAX_BACKLOGS = 100, 100
local limit, reply, added = args.limit, {tostring(now)}, {}
local function add(id, cause)
  if added[id] then return end
  added[id] = true
  local job = fields(RECORD .. id, 'deliveries', 'attempts', 'deadline', 'accepted', 'queue', 'answers', 'default_fallback',
    'replied')
  if cause ~= 'overdue' then  -- a job that was cancelled or deleted with rq's own tools is not moved
    cause = removed_by_rq(id) or cause
  end
  local head = string.match(redis.call('GETRANGE', PROMPT .. id, 0, args.head_bytes), '^[^\n]*')
  local answers = job.answers and redis.call('LRANGE', ANSWERS .. id, 0, -1) or {}
  reply[#reply + 1] = {id, job.deliveries or '0', cause, job.attempts or '', job.deadline or '0', job.accepted or '0', job.queue or DEGRADE, head,
    answers, job.default_fallback or '', job.replied or ''}
end

-- Whether UNFINISHED names a job that has ended, or no job.
local function is_over(id, job)
  return job.state == 'done' or not job.state and redis.call('EXISTS', PROMPT .. id) == 0
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', UNFINISHED, '-inf', now, 'LIMIT', 0, limit)) do
  local job = fields(RECORD .. id, 'state', 'deadline', 'queue', 'accepted')
  local deadline = tonumber(job.deadline) or 0
  local unreadable = job.state ~= 'started' and job.queue ~= DEGRADE and job.state ~= 'held' and unreadable_part(id, job)
  if is_over(id, job) then
    redis.call('ZREM', UNFINISHED, id)
  elseif unreadable then
    fall_unreadable(id, job.queue, unreadable, now)
  elseif job.state ~= 'started' and deadline <= now then
    add(id, 'overdue')
  elseif job.state == 'held' then
    redis.call('ZADD', UNFINISHED, deadline, id)
  else
    local recheck_at = now + (args.recheck_ms[urgency_of(job.queue or DEGRADE)] or args.recheck_ms.background)
    redis.call('ZADD', UNFINISHED, deadline > now and math.min(recheck_at, deadline) or recheck_at, id)
    if job.state ~= 'started' and job.queue ~= DEGRADE then add(id, 'late') end
  end
end
for _, queue in ipairs(args.stranded_queues) do
  for _, id in ipairs(waiting_slice(queue, 0, limit)) do
    if redis.call('HGET', RECORD .. id, 'state') == 'queued' then add(id, 'stranded') end
  end
end

-- The jobs of a queue that are examined in this second. No more are read, however long the queue is.
local function examined_now(queue, share)
  local parts = math.max(1, math.ceil(length_of(queue) / share))
  return waiting_slice(queue, math.floor(now / 1000) % parts * share, share)
end

local share = math.max(1, math.floor(limit / math.max(1, #args.blocked_queues)))
for _, queue in ipairs(args.blocked_queues) do
  for _, id in ipairs(examined_now(queue, share)) do
    if redis.call('HGET', RECORD .. id, 'state') == 'queued' then add(id, 'blocked') end
  end
end
restore_turns(MAX_BACKLOGS)

-- A list is searched only when it is short: a stray job behind a long queue is found when the queue has drained.
local function is_missing(id, list)
  return redis.call('LLEN', list) <= MAX_SEARCHED and not redis.call('LPOS', list, id)
end

local function is_off_its_list(id, queue, producer, status)
  if status ~= 'queued' then return true end
  return is_missing(id, RQ_QUEUE .. queue) and is_missing(id, backlog_of(queue, producer))
end

local cursor = redis.call('GET', AUDIT_CURSOR)
if cursor and not number(cursor) then note_unreadable(AUDIT_CURSOR, 'is no number') end
local from = math.max(0, math.floor(number(cursor, 0)))
local unfinished = redis.call('ZRANGE', UNFINISHED, from, from + limit - 1)
redis.call('SET', AUDIT_CURSOR, #unfinished < limit and 0 or from + limit)
for _, id in ipairs(unfinished) do
  local job = fields(RECORD .. id, 'state', 'queue', 'producer')
  local status, removed = redis.call('HGET', RQ_JOB .. id, 'status'), removed_by_rq(id)
  if is_over(id, job) then
    redis.call('ZREM', UNFINISHED, id)
  elseif removed == 'cancelled' or (removed and job.state and job.state ~= 'started') then
    add(id, removed)
  elseif not job.state then
    fall_unreadable(id, nil, 'its record is gone', now)
  elseif job.state == 'queued' and is_off_its_list(id, queue_of(id, job), job.producer or '?', status) then
    redis.call('ZREM', RQ_FAILED .. queue_of(id, job), id)
    count('strayed')
    leave_queue(id, queue_of(id, job))
    enqueue_with_event(id, queue_of(id, job), true, 'another tool had taken it off its list', now)
  end
end

if args.clean_registries then
  local seconds = math.floor(now / 1000)
  for _, key in ipairs(redis.call('SMEMBERS', RQ_QUEUES)) do
    local queue = string.sub(key, #RQ_QUEUE + 1)
    for _, registry in ipairs({RQ_FINISHED, RQ_FAILED, RQ_CANCELED}) do
      redis.call('ZREMRANGEBYSCORE', registry .. queue, '-inf', seconds)
    end
  end
end
return reply
