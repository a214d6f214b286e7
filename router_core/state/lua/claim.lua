-- @include budget_reserve
-- @include fall_and_release
-- @include lifecycle
-- @include breaker
-- @include capacity
-- @include drain_order
-- @include urgency_shares
-- @include probes
-- Claim up to `limit` jobs: promote those that are due, pop, lease, mark started. One round trip, atomic.
-- No job is popped for a model whose breaker is open, whose key is parked or that cools down after a 429. A probe that
-- is due is handed out instead, even when no job is queued: an open breaker that routing avoids would never close
-- otherwise.
-- Arguments: worker, nonce (unique to this claim), limit, max_not_interactive? (how many of them may be other than
--   interactive; absent: any number), in_flight (calls of this worker), rq_state (the last state in rq), suspect? (the worker
--   has let its calls end for this one), jobs_since_update (claimed since it last updated credits),
--   bodies (their digest)
-- Bodies ('': the server should know them): the subscription, which workers with the same queues share, JSON: lease_ms, update_after (jobs after which credits
--   are updated), suspect_delay_ms (how long a suspect is reserved for a worker that lets its calls end), pool, is_local,
--   has_cards (of its backends), max_history, queues in drain order ({name, backends: {name,
--   slots, keys, reserved, rates, answer_tokens, card, model_slots, terms (0: no budget)}...}), terms ({budgets, price}...), shares ({urgency, share, first, last}: see urgency_shares.lua), places
--   by target
--   ({backend, model, keys, lease_ms, order}: see probes.lua); budgets ('' or JSON: see budget_book.py)
-- Reply: {}: the server does not know the bodies, and nothing is done. Else {state, now, next due (ms, 0: nothing), suspect to let calls end for, 1 if jobs wait for a slot, {job...},
--         {rq job...}, {probe...}}
--   job: {id, token, queue, backend, envelope, deadline, attempts, deliveries, crashes, stream, accepted,
--         epoch of the model's breaker, key to call with ('': the backend has none), epoch of its breaker, tokens charged
--         to its limits (-1: the backend has none), {answer...}, {fall: reason, detail, at, falls, strikes, default fallback, 1 if
--         its caller set a deadline} ({}: it has not fallen), 1 if its caller has had a reply of Open Fall,
--         the budget that its call does not fit into ('': it fits; otherwise no call may be made)}
--   rq job: {rq job id, queue, rq data}: enqueued with plain rq; it names an accepted job
--   probe: {target, backend, model, key, token}
local bodies = decoded[args.bodies]
if not bodies then  -- as after a restart
  if ARGV[3] == '' then return {} end
  bodies = keep_decoded(args.bodies, {decode_once(ARGV[3], name_lists), ARGV[4] ~= '' and decode_once(ARGV[4])})
end
local subscription, budgets = bodies[1], bodies[2]
local worker, limit, queues, pool = args.worker, args.limit, subscription.queues, subscription.pool
local jobs, rq_jobs, probes = {}, {}, {}

local function set_worker_state(state)
  if state ~= args.rq_state and redis.call('EXISTS', RQ_WORKER .. worker) == 1 then
    redis.call('HSET', RQ_WORKER .. worker, 'state', state)
  end
  return state
end

if redis.call('EXISTS', RQ_SUSPENDED) == 1 then
  return {set_worker_state('suspended'), tostring(now), '0', '', 0, jobs, rq_jobs, probes}
end

local capacity = load_capacity(now)
if capacity.blocked['local-only'] and not subscription.is_local then
  return {set_worker_state(args.in_flight > 0 and 'busy' or 'idle'), tostring(now), '0', '', 0, jobs, rq_jobs, probes}
end

if budgets then budgeting.open(budgets, now) end
local epochs = {}
local function epoch_of(target)
  if not epochs[target] then epochs[target] = redis.call('HGET', BREAKER .. target, 'epoch') or '0' end
  return epochs[target]
end

local function fall_context(id)
  local row = redis.call('HMGET', RECORD .. id, 'fell_for', 'fell_why', 'fell_at', 'falls', 'strikes', 'default_fallback',
    'has_deadline', 'fell_over')
  for i = 1, 8 do row[i] = row[i] or '' end
  for i = 3, 5 do row[i] = ms(number(row[i], i == 3 and now or 0)) end
  return row
end

-- Take a job that plain rq put into a queue: another worker gets it back when its lease ends.
local function take_rq_job(id, queue, data)
  redis.call('ZADD', RQ_JOBS_TAKEN, now + subscription.lease_ms, id)
  redis.call('HSET', RQ_JOB_QUEUES, id, queue)
  rq_jobs[#rq_jobs + 1] = {id, queue, data}
end

-- The reserve of a job that cannot be read ends: the sums of its budgets change.
local function fall_damaged(id, queue, why)
  if budgets then budgeting.write() end
  fall_unreadable(id, queue, why, now)
end

-- What a probe can cost at most is reserved too. Over a budget no probe is made until the budget resets, or is raised.
-- Of a probe whose worker died it is not known what it cost.
local RAISED_WITHIN_MS = 60000
local function reserve_probe(probe)
  local terms = subscription.terms[probe.backend.terms]
  if not budgets or not terms then return true end
  budgeting.write()
  end_probe_reserve(BREAKER .. probe.target)
  local reserve, over = budgeting.reserve(terms, true, {bound = subscription.probe_bound})
  if over then
    capacity.blocked[probe.target] = 'half_open ' .. ms(math.min(over.ends, now + RAISED_WITHIN_MS))
    redis.call('HSET', BLOCKED, probe.target, capacity.blocked[probe.target])
    return false
  end
  if reserve[2] then redis.call('HSET', BREAKER .. probe.target, 'reserve', reserve[2]) end
  return true
end

-- Returns the producer of a job that waited in this queue and has left it; nil for an id that is there by error.
local NO_FIELDS = {}
local function lease(id, queue, backend, key)
  local terms = budgets and subscription.terms[backend.terms]
  local job = fields(RECORD .. id, 'state', 'deadline', 'attempts', 'deliveries', 'crashes', 'alone', 'stream', 'accepted', 'pieces',
    'queue', 'local_only', 'answers', 'default_fallback', 'producer', 'replied', unpack(terms and budgeting.record_fields(terms) or NO_FIELDS))
  if not job.state then
    if redis.call('EXISTS', PROMPT .. id) == 1 then
      fall_damaged(id, queue, 'its record is gone')
      return '?'
    end
    local data = redis.call('HGET', RQ_JOB .. id, 'data')
    if data then take_rq_job(id, queue, data) end
    return
  end
  -- An rq tool pushed the id of a job that is not queued. A requeue of a finished or held job is a request for itself.
  if job.state == 'done' or job.state == 'held' then
    local rq_job = fields(RQ_JOB .. id, 'status', 'data')
    if rq_job.status == 'queued' and rq_job.data then take_rq_job(id, queue, rq_job.data) end
  end
  if job.state ~= 'queued' then return end
  job.queue = queue_of(id, job, queue)
  local prompt = redis.call('GET', PROMPT .. id)
  if not (job.deadline and job.accepted and prompt) and queue ~= DEGRADE then
    fall_damaged(id, queue, unreadable_part(id, job))
    return job.producer or '?'
  end
  if job.queue ~= queue then  -- an rq tool moved it: back to the queue of its record, the only one where it may be
    leave_queue(id, job.queue)
    enqueue(id, job.queue, true, now)
    return
  end
  if job.local_only and not subscription.is_local then  -- a wiring error put it here: it must not leave
    fall(id, 'local_only', 'it may not leave the local pools, but it was in ' .. queue, now)
    return job.producer or '?'
  end
  local interactive = is_interactive(queue)
  local token = args.nonce .. #jobs .. (interactive and INTERACTIVE_MARK or '')
  local member = id .. ':' .. token
  local charged, reserve, over = -1, nil, nil
  note_key(capacity, backend, key)
  if terms then
    reserve, over = budgeting.reserve(terms, interactive, job)
    if over then budgeting.refuse(over) end
  end
  if backend.rates[1] and not over then
    charged = call_tokens(capacity, backend, id)
    charge_limits(capacity, backend, key, interactive, charged)
  end
  local deliveries = (tonumber(job.deliveries) or 0) + 1
  if job.alone then redis.call('HDEL', RECORD .. id, 'alone') end
  redis.call('HSET', RECORD .. id, 'state', 'started', 'lease', token, 'worker', worker, 'backend', backend.name,
    'deliveries', deliveries, unpack(reserve or NO_FIELDS))
  redis.call('ZADD', LEASES .. backend.name, now + subscription.lease_ms, member)
  if backend.card ~= '' then note_card_used(capacity, backend.card, queue) end
  local at, seconds = iso(now), string.format('%.3f', now / 1000)
  redis.call('HSET', RQ_JOB .. id, 'status', 'started', 'started_at', at, 'last_heartbeat', at, 'worker_name', worker)
  redis.call('HSET', RQ_EXECUTION .. member, 'id', token, 'created_at', seconds, 'last_heartbeat', seconds,
    'worker_name', worker)
  redis.call('ZADD', RQ_EXECUTIONS .. id, '+inf', token)
  redis.call('ZADD', RQ_WIP .. queue, '+inf', member)
  if tonumber(job.pieces or 0) > 0 then  -- the pieces of an earlier delivery are void
    redis.call('HSET', RECORD .. id, 'pieces', 0)
    add_event(id, '{"event":"reset","at":' .. ms(now) .. ',"delivery":' .. deliveries .. '}')
  end
  add_event(id, '{"event":"started","at":' .. ms(now) .. ',"delivery":' .. deliveries .. ',"backend":"' .. backend.name
    .. '"}')
  jobs[#jobs + 1] = {id, token, queue, backend.name, prompt or '', job.deadline or ms(now + DAY_MS),
    job.attempts or '', deliveries, tonumber(job.crashes) or 0, job.stream or '', job.accepted or ms(now),
    epoch_of(backend.name .. '/' .. model_of(queue)), key, key == '' and '0' or epoch_of('key:' .. key),
    charged, job.answers and redis.call('LRANGE', ANSWERS .. id, 0, -1) or {},
    (queue == DEGRADE or job.default_fallback) and fall_context(id) or {}, job.replied or '', over and over.text or ''}
  return job.producer or '?'
end

-- Lease the jobs that were popped off a queue's list. Returns how many ids entered the list: the turns of their
-- producers' next jobs.
local function lease_popped(popped, queue, backend, key)
  local producer, n, entered, left = nil, 0, 0, 0
  for i = 1, #popped + 1 do
    local next_producer = popped[i] and lease(popped[i], queue, backend, key)
    if producer and next_producer ~= producer then
      local of_turn, of_backlog = note_left(queue, producer, n)
      entered, left, n = entered + of_turn, left + of_backlog, 0
    end
    producer, n = next_producer, n + (next_producer and 1 or 0)
  end
  note_unbacklogged(queue, left)
  return entered
end

-- Promote scheduled jobs. The last one first: each goes to the front, so that the one that was due first is at the
-- head.
local MAX_PROMOTED = 64
local due_ids = redis.call('ZRANGEBYSCORE', SCHEDULED .. pool, '-inf', now, 'LIMIT', 0, MAX_PROMOTED)
for i = #due_ids, 1, -1 do
  local id = due_ids[i]
  redis.call('ZREM', SCHEDULED .. pool, id)
  local job = fields(RECORD .. id, 'state', 'queue')
  job.queue = queue_of(id, job)
  -- The sweep ends jobs that rq's own tools have cancelled or deleted.
  if job.state == 'scheduled' and not removed_by_rq(id) then
    redis.call('ZREM', RQ_SCHEDULED .. job.queue, id)
    enqueue(id, job.queue, true, now)  -- at the front: it has waited its turn before
  end
end

local paused = read_paused()

-- A job that may be crashing its workers runs alone: one worker lets its other calls end first, then takes it.
local MAX_SUSPECTS = 16
local suspect = ''
if redis.call('EXISTS', SUSPECTS .. pool) == 1 then
  local backends = {}
  for _, queue in ipairs(queues) do
    if not paused[queue.name] then backends[queue.name] = queue.backends end
  end
  local waiting = redis.call('ZRANGEBYSCORE', SUSPECTS .. pool, '-inf', now, 'LIMIT', 0, MAX_SUSPECTS)
  if args.suspect and redis.call('ZSCORE', SUSPECTS .. pool, args.suspect) then table.insert(waiting, 1, args.suspect) end
  for _, id in ipairs(waiting) do
    local job = fields(RECORD .. id, 'state', 'queue')
    local queue = queue_of(id, job)
    local wanted = job.state == 'scheduled' and not removed_by_rq(id)
    local backend, _, _, key = least_loaded(capacity, wanted and backends[queue] or {}, queue, id)
    if backend then
      if args.in_flight > 0 then
        redis.call('ZADD', SUSPECTS .. pool, now + subscription.suspect_delay_ms, id)
      else
        remove_waiting(id, 'scheduled', queue, now)
        redis.call('HSET', RECORD .. id, 'state', 'queued')
        lease(id, queue, backend, key)
        redis.call('HSET', RECORD .. id, 'alone', 1)  -- a crash of this delivery is evidence
      end
      suspect, limit = id, 0
      break
    end
  end
end

-- Take up to `n` jobs of a queue. Returns how many are left in it, and whether for want of slots.
local max_not_interactive = args.max_not_interactive or args.limit
local function drain(i, n)
  local queue = queues[i].name
  local length = redis.call('LLEN', RQ_QUEUE .. queue)
  if length == 0 then return 0, false end
  local interactive = is_interactive(queue)
  local target = math.min(limit, #jobs + #rq_jobs + (interactive and n or math.min(n, max_not_interactive)))
  local full = false
  while length > 0 and #jobs + #rq_jobs < target and not paused[queue] do
    local backend, room, lacks_slots, key = least_loaded(capacity, queues[i].backends, queue)
    full = lacks_slots
    if not backend then break end
    local popped = redis.call('LPOP', RQ_QUEUE .. queue, math.min(target - #jobs - #rq_jobs, room, length))
    if not popped then break end
    local before = #jobs
    length = length - #popped + lease_popped(popped, queue, backend, key)
    note_leased(capacity, backend.name, queue, #jobs - before)
    if not interactive then max_not_interactive = max_not_interactive - (#jobs - before) end
    if length == 0 then redis.call('DEL', WAKEUP .. queue) end
  end
  return length, (full or (not interactive and max_not_interactive < 1)) and not paused[queue]
end

-- Whether a job waits in these queues that could be called now, but for slots.
local function is_waiting(first, last)
  if redis.call('EXISTS', unpack(subscription.lists, first, last)) == 0 then return false end
  if not capacity.any_blocked and not subscription.has_cards and not next(paused) then return true end
  for i = first, last do
    local queue = queues[i].name
    if not paused[queue] and redis.call('EXISTS', RQ_QUEUE .. queue) == 1 then
      local backend, _, full, _, limited = least_loaded(capacity, queues[i].backends, queue)
      if backend or full or limited then return true end
    end
  end
  return false
end

local more_waiting = 0
if limit > 0 then
  local turns = load_credits(subscription.shares, pool)
  for _, turn in ipairs(turns) do take_turn(turn, drain, jobs) end
  local before, most_urgent, i, examined, has_jobs = #jobs, nil, 1, 0, false
  while i <= #queues and #jobs + #rq_jobs < limit do
    if i > examined then examined, has_jobs = examine_block(subscription.lists, i) end
    if has_jobs then
      local length, full = drain(i, limit)
      if length > 0 and full then more_waiting = 1 end
      if #jobs > before and not most_urgent then most_urgent = i end
    end
    i = has_jobs and i + 1 or examined + 1
  end
  local jobs_since = #jobs + args.jobs_since_update
  update_credits(turns, pool, most_urgent, jobs_since >= subscription.update_after and jobs_since or 0, is_waiting)
end

local due = capacity.limited_until
if capacity.any_blocked then
  local to_probe, check_at = due_probes(capacity, subscription.places)
  due = math.min(due, check_at)
  for _, probe in ipairs(to_probe) do
    if reserve_probe(probe) then hand_out_probe(capacity, probe, args.nonce .. 'p' .. #probes, subscription.max_history, probes) end
  end
end

if #jobs == 0 then
  local first = redis.call('ZRANGE', SCHEDULED .. pool, 0, 0, 'WITHSCORES')
  if first[2] then due = math.min(due, number(first[2], NEVER)) end
end
if capacity.closed then wake_worker(cards_of(pool)) end  -- jobs wait for a model that is not loaded
write_limits(capacity)
if budgets then budgeting.write() end
local state = set_worker_state((#jobs > 0 or args.in_flight > 0) and 'busy' or 'idle')
return {state, tostring(now), due < NEVER and ms(due) or '0', suspect, more_waiting, jobs, rq_jobs, probes}
