-- @include lifecycle
-- @include hold_and_incident
-- @include lock
-- @include clock_set_back
-- Examine the records of all jobs, a part of them each second, once for the whole fleet: a job without a result must be in
-- every index that its record names. An index that was set aside is so written again. While something was set aside, more
-- records are examined each second. Also removes leases of no delivery, workers that rq has forgotten or another one has
-- replaced, from the registries of rq what they list wrongly, and from JOBS the jobs that Redis does not keep any more. Leases
-- and presences that end later than any that is given now end in time.
-- Arguments: check_ms (how long one audit is good), keys (examined each second), keys_after_damage, listed (entries of JOBS
--   that are examined each second), silence (see fleet_silence.lua)
-- Reply: the notes of UNREADABLE that no audit has returned before (JSON), oldest first
local MAX_PARTS, MAX_WAIT_MS = 16, 86400000
if not take_lock('audit', args.check_ms) then return {} end

-- Enter a job in an index. Every script writes a record and its indexes together, so one that lacks a job was damaged.
-- `latest`, `earliest`: a score after or before them cannot be right either.
local lacked = {}
local function restore(key, score, member, latest, earliest)
  local current = redis.call('ZSCORE', key, member)
  if current and (not latest or number(current, latest + 1) <= latest and number(current, latest) >= (earliest or 0)) then return end
  redis.call('ZADD', key, score, member)
  if not current then lacked[key] = (lacked[key] or 0) + 1 end
end

-- A model releases its held jobs in the order of their scores: one with another score would never have its turn.
local function restore_held(id, job)
  restore(RQ_DEFERRED .. DEGRADE, math.floor(now / 1000), id)
  if job.late_by then restore(HELD_LATER, math.max(number(job.late_at, now), number(job.ready_at, 0)), id) end
  if not job.held_by or job.held_by == '' then return end
  local order, ready_at = hold_order(job.fell_from or DEGRADE, job.accepted), tonumber(job.ready_at) or now
  for model in string.gmatch(job.held_by, '[^,]+') do
    if number(redis.call('ZSCORE', HELD .. model, id)) == order then return end
  end
  restore(HELD_LATER, ready_at, id, ready_at)
end

-- The backend at which a call has its lease: that of its record, unless the record was damaged. A second lease at another
-- backend would end without a worker that renews it, and give the job a second call.
local function backend_of_lease(id, job)
  local lease = id .. ':' .. (job.lease or '')
  if redis.call('ZSCORE', LEASES .. (job.backend or ''), lease) then return job.backend end
  for _, backend in ipairs(redis.call('SMEMBERS', BACKENDS)) do
    if redis.call('ZSCORE', LEASES .. backend, lease) then
      redis.call('HSET', RECORD .. id, 'backend', backend)
      note_unreadable(RECORD .. id, 'names another backend than its lease: corrected')
      return backend
    end
  end
  return job.backend
end

local function restore_started(id, job, queue)
  job.backend = backend_of_lease(id, job)
  if (job.lease or '') == '' or (job.backend or '') == '' then
    end_reserve(id, job.lease, now, job.reserve, nil)
    enqueue_with_event(id, queue, true, 'its lease cannot be read', now)
    return
  end
  redis.call('SADD', BACKENDS, job.backend)
  -- Its worker renews it, or it is taken over.
  restore(LEASES .. job.backend, now + args.silence.lease_ms, id .. ':' .. job.lease)
  restore(RQ_WIP .. queue, '+inf', id .. ':' .. job.lease)
end

local function restore_scheduled(id, queue)
  local pool = pool_of(queue)
  restore(RQ_SCHEDULED .. queue, math.floor(now / 1000), id)
  local due = redis.call('ZSCORE', SUSPECTS .. pool, id) and SUSPECTS or SCHEDULED
  restore(due .. pool, now, id, now + MAX_WAIT_MS)
end

local function restore_backlog(queue, producer)
  local backlog = backlog_of(queue, producer)
  if redis.call('EXISTS', backlog) == 1 then register_backlog(backlog) end
end

local ENDS = {'failed', 'expired', 'cancelled', 'degraded'}  -- what JOBS_ENDED lists
local function restore_ended(id, job)
  for _, status in ipairs(ENDS) do
    if job.status == status then restore(JOBS_ENDED .. status, job.accepted or now, id) end
  end
end

local KNOWN_STATES = {queued = true, scheduled = true, started = true, held = true}
local function examine(id)
  local job = fields(RECORD .. id, 'state', 'queue', 'deadline', 'lease', 'backend', 'held_by', 'ready_at', 'late_by', 'late_at', 'producer',
    'odd_state', 'reserve', 'accepted', 'status', 'fell_from')
  local state, queue = job.state, queue_of(id, job)
  local accepted = tonumber(job.accepted)
  if accepted then restore(JOBS, accepted, id, accepted, accepted) end
  if state == 'done' then return restore_ended(id, job) end
  if not state or not string.find(state, '^[%l_]+$') then  -- another word is a state of a newer openfall
    if not state and redis.call('EXISTS', PROMPT .. id) == 0 then return end
    redis.call('HDEL', RECORD .. id, 'state')
    fall_unreadable(id, nil, 'its state cannot be read', now)
    return
  end
  if not KNOWN_STATES[state] and state ~= job.odd_state then  -- it ends at its deadline
    redis.call('HSET', RECORD .. id, 'odd_state', state)
    note_unreadable(RECORD .. id, 'has a state that this openfall does not know: ' .. state)
  end
  restore(UNFINISHED, now, id, tonumber(job.deadline) or now)
  if state == 'held' then
    restore_held(id, job)
  elseif state == 'started' then
    restore_started(id, job, queue)
  elseif state == 'scheduled' then
    restore_scheduled(id, queue)
  elseif state == 'queued' then
    restore_backlog(queue, job.producer or '?')
  end
end

-- Leases and presences that end later than any that is given now. A dead worker would count as alive, its job as a call.
local function end_in_time(key)
  local late = end_leases_within(key, now + args.silence.lease_ms + args.silence.grace_ms)
  if late > 0 then note_unreadable(key, 'has ' .. late .. ' leases that end too late: they end in time') end
end
for _, key in ipairs({PRESENCE, GATEWAYS, RQ_JOBS_TAKEN}) do end_in_time(key) end

-- Remove leases that no delivery has: those which end last hide longest.
for _, backend in ipairs(redis.call('SMEMBERS', BACKENDS)) do
  if string.find(backend, '[^%w_-]') or backend == '' then redis.call('SREM', BACKENDS, backend) end
  end_in_time(LEASES .. backend)
  for _, member in ipairs(redis.call('ZRANGE', LEASES .. backend, -MAX_PARTS, -1)) do
    local id, token = string.match(member, '^([^:]+):(.+)$')
    local job = id and fields(RECORD .. id, 'state', 'lease') or {}
    if job.state ~= 'started' or job.lease ~= token then
      redis.call('ZREM', LEASES .. backend, member)
      note_unreadable(LEASES .. backend, 'names no delivery: ' .. member)
    end
  end
end

-- What is wrong with an entry of a registry, which lists the jobs of a queue (nil: of several) in one state; nil: nothing is. A
-- call is listed by its lease. Another program may keep jobs of its own in a registry of rq.
local function what_is_wrong(member, state, queue)
  local id, token = string.match(member, '^([^:]*):?(.*)$')
  local job = redis.call('HMGET', RECORD .. id, 'state', 'queue', 'lease')
  if not job[1] then return redis.call('EXISTS', RECORD .. id, RQ_JOB .. id) == 0 and 'names no job: ' .. member or nil end
  if job[1] ~= 'done' and not KNOWN_STATES[job[1]] then return nil end  -- a newer openfall may list it here
  local is_right = job[1] == state and (not queue or (job[2] or queue) == queue) and (state ~= 'started' or job[3] == token)
  return not is_right and 'names a job that is not ' .. state .. ' there: ' .. member or nil
end

-- Remove from a registry what it lists wrongly: it would count for ever as a call, a wait or a held job.
local function clean_registry(registry, state, queue)
  for _, member in ipairs(redis.call('ZRANDMEMBER', registry, MAX_PARTS)) do
    local wrong = what_is_wrong(member, state, queue)
    if wrong then
      redis.call('ZREM', registry, member)
      note_unreadable(registry, wrong)
    end
  end
end

local function remove_forgotten_workers(workers)
  for _, key in ipairs(redis.call('SRANDMEMBER', workers, MAX_PARTS)) do
    if string.sub(key, 1, #RQ_WORKER) ~= RQ_WORKER or redis.call('EXISTS', key) == 0 then redis.call('SREM', workers, key) end
  end
end

clean_registry(RQ_DEFERRED .. DEGRADE, 'held')
clean_registry(HELD_LATER, 'held')
remove_forgotten_workers(RQ_WORKERS)
local pools = {}
for _, key in ipairs(redis.call('SRANDMEMBER', RQ_QUEUES, MAX_PARTS)) do
  local queue = string.sub(key, #RQ_QUEUE + 1)
  clean_registry(RQ_WIP .. queue, 'started', queue)
  clean_registry(RQ_SCHEDULED .. queue, 'scheduled', queue)
  pools[pool_of(queue)] = true
  remove_forgotten_workers(RQ_WORKERS_OF .. queue)
  if string.sub(key, 1, #RQ_QUEUE) ~= RQ_QUEUE then  -- tools of rq end with an error for it
    redis.call('SREM', RQ_QUEUES, key)
    note_unreadable(RQ_QUEUES, 'names no queue: ' .. key)
  end
end
for pool in pairs(pools) do
  clean_registry(SCHEDULED .. pool, 'scheduled')
  clean_registry(SUSPECTS .. pool, 'scheduled')
end
for _, target in ipairs(redis.call('SRANDMEMBER', BREAKERS, MAX_PARTS)) do
  local has_none = redis.call('EXISTS', BREAKER .. target) == 0 and redis.call('HEXISTS', BLOCKED, target) == 0
  if has_none then redis.call('SREM', BREAKERS, target) end
end

-- What operators switched on stands twice: what one of the places lacks is written again.
redis.call('HLEN', SWITCHES)
restore_switches()
for queue in pairs(read_paused()) do redis.call('HSETNX', SWITCHES, 'paused ' .. queue, '') end
local only_local = redis.call('HGET', BLOCKED, 'local-only')
if only_local then redis.call('HSETNX', SWITCHES, 'local-only', only_local) end

-- A dead worker is kept for people until another one serves its pool.
local function forget_replaced_workers()
  local rows, dead, is_served = redis.call('HGETALL', LAST_WORKERS), {}, {}
  for i = 1, #rows, 2 do
    local is_readable, worker = pcall(cjson.decode, rows[i + 1])
    local pool = is_readable and type(worker) == 'table' and type(worker.pool) == 'string' and worker.pool or nil
    if number(redis.call('ZSCORE', PRESENCE, rows[i]), 0) <= now then
      dead[rows[i]] = pool or ''
    elseif pool then
      is_served[pool] = true
    end
  end
  for name, pool in pairs(dead) do
    if pool == '' or is_served[pool] then redis.call('HDEL', LAST_WORKERS, name) end
    if pool == '' then note_unreadable(LAST_WORKERS, 'names no pool') end
  end
end
forget_replaced_workers()

local listed_from = math.max(0, math.floor(number(redis.call('HGET', AUDIT, 'listed'), 0)))
local listed, kept = redis.call('ZRANGE', JOBS, listed_from, listed_from + args.listed - 1), 0
for _, id in ipairs(listed) do
  if redis.call('EXISTS', RECORD .. id) == 1 then
    kept = kept + 1
  else
    redis.call('ZREM', JOBS, id)
    for _, status in ipairs(ENDS) do redis.call('ZREM', JOBS_ENDED .. status, id) end
  end
end
for _, status in ipairs(ENDS) do  -- also jobs that JOBS has lost, or that have run again since
  for _, id in ipairs(redis.call('ZRANDMEMBER', JOBS_ENDED .. status, MAX_PARTS)) do
    if redis.call('HGET', RECORD .. id, 'status') ~= status then redis.call('ZREM', JOBS_ENDED .. status, id) end
  end
end
redis.call('HSET', AUDIT, 'listed', #listed < args.listed and 0 or listed_from + kept)

local row = redis.call('HMGET', AUDIT, 'cursor', 'began', 'clean', 'shown')
local cursor = row[1] and string.match(row[1], '^%d%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?$') or '0'
local unreadable = number(redis.call('HGET', COUNTERS, 'unreadable'), 0)
if cursor == '0' then redis.call('HSET', AUDIT, 'began', unreadable) end
local keys = unreadable ~= number(row[3], 0) and args.keys_after_damage or args.keys
local page = redis.call('SCAN', cursor, 'MATCH', RECORD .. '*', 'COUNT', keys)
for _, key in ipairs(page[2]) do examine(string.sub(key, #RECORD + 1)) end
for key, n in pairs(lacked) do note_unreadable(key, 'lacked ' .. n .. ' of its jobs: they are in it again') end
redis.call('HSET', AUDIT, 'cursor', page[1])
if page[1] == '0' then redis.call('HSET', AUDIT, 'clean', number(row[2], 0)) end

unreadable = number(redis.call('HGET', COUNTERS, 'unreadable'), 0)
local shown = math.min(number(row[4], 0), unreadable)
redis.call('HSET', AUDIT, 'shown', unreadable)
local notes = {}
for i, note in ipairs(unreadable > shown and redis.call('LRANGE', UNREADABLE, 0, unreadable - shown - 1) or {}) do
  table.insert(notes, 1, note)
end
return notes
