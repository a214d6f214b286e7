-- @include lifecycle
-- @include hold_and_incident
-- @include lock
-- Examine the records of all jobs, a part of them each second, once for the whole fleet: a job without a result must be in
-- every index that its record names. An index that was set aside is so written again. While something was set aside, more
-- records are examined each second. Also removes leases of no delivery, workers that rq has forgotten or another one has
-- replaced, from the registries of rq the names of no job, and from JOBS the jobs that Redis does not keep any more.
-- Arguments: check_ms (how long one audit is good), keys (examined each second), keys_after_damage, lease_ms, listed (entries
--   of JOBS that are examined each second)
-- Reply: the notes of UNREADABLE that no audit has returned before (JSON), oldest first
local MAX_PARTS, MAX_WAIT_MS = 16, 86400000
if not take_lock('audit', args.check_ms) then return {} end

-- Enter a job in an index. Every script writes a record and its indexes together, so one that lacks a job was damaged.
-- `latest`: a moment after this cannot be right either.
local lacked = {}
local function restore(key, score, member, latest)
  local current = redis.call('ZSCORE', key, member)
  if current and (not latest or number(current, latest + 1) <= latest) then return end
  redis.call('ZADD', key, score, member)
  if not current then lacked[key] = (lacked[key] or 0) + 1 end
end

local function restore_held(id, job)
  restore(RQ_DEFERRED .. DEGRADE, math.floor(now / 1000), id)
  if not job.held_by or job.held_by == '' or redis.call('ZSCORE', HELD_LATER, id) then return end
  for model in string.gmatch(job.held_by, '[^,]+') do
    if redis.call('ZSCORE', HELD .. model, id) then return end
  end
  restore(HELD_LATER, tonumber(job.ready_at) or now, id)
end

local function restore_started(id, job, queue)
  if (job.lease or '') == '' or (job.backend or '') == '' then
    end_reserve(id, job.lease, now, job.reserve, nil)
    enqueue_with_event(id, queue, true, 'its lease cannot be read', now)
    return
  end
  redis.call('SADD', BACKENDS, job.backend)
  -- Its worker renews it, or it is taken over.
  restore(LEASES .. job.backend, now + args.lease_ms, id .. ':' .. job.lease, now + MAX_WAIT_MS)
  restore(RQ_WIP .. queue, '+inf', id .. ':' .. job.lease)
end

local function restore_scheduled(id, queue)
  local pool = pool_of(queue)
  restore(RQ_SCHEDULED .. queue, math.floor(now / 1000), id)
  if not redis.call('ZSCORE', SUSPECTS .. pool, id) then restore(SCHEDULED .. pool, now, id, now + MAX_WAIT_MS) end
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
  local job = fields(RECORD .. id, 'state', 'queue', 'deadline', 'lease', 'backend', 'held_by', 'ready_at', 'producer', 'odd_state',
    'reserve', 'accepted', 'status')
  local state, queue = job.state, queue_of(id, job)
  if job.accepted then restore(JOBS, job.accepted, id) end
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

-- Remove leases that no delivery has: those which end last hide longest.
for _, backend in ipairs(redis.call('SMEMBERS', BACKENDS)) do
  for _, member in ipairs(redis.call('ZRANGE', LEASES .. backend, -MAX_PARTS, -1)) do
    local id, token = string.match(member, '^([^:]+):(.+)$')
    local job = id and fields(RECORD .. id, 'state', 'lease') or {}
    if job.state ~= 'started' or job.lease ~= token then
      redis.call('ZREM', LEASES .. backend, member)
      note_unreadable(LEASES .. backend, 'names no delivery: ' .. member)
    end
  end
end

-- Remove from a registry of rq the names of no job: each would count for ever as a call, a wait or a held job.
local function remove_unknown(registry)
  for _, member in ipairs(redis.call('ZRANDMEMBER', registry, MAX_PARTS)) do
    local id = string.match(member, '^[^:]*')
    if redis.call('EXISTS', RECORD .. id, RQ_JOB .. id) == 0 then
      redis.call('ZREM', registry, member)
      note_unreadable(registry, 'names no job: ' .. member)
    end
  end
end
remove_unknown(RQ_DEFERRED .. DEGRADE)
for _, key in ipairs(redis.call('SRANDMEMBER', RQ_QUEUES, MAX_PARTS)) do
  local queue = string.sub(key, #RQ_QUEUE + 1)
  remove_unknown(RQ_WIP .. queue)
  remove_unknown(RQ_SCHEDULED .. queue)
end

-- What operators switched on stands twice: what one of the places lacks is written again.
redis.call('HLEN', SWITCHES)
restore_switches()
for queue in pairs(read_paused()) do redis.call('HSETNX', SWITCHES, 'paused ' .. queue, '') end
local only_local = redis.call('HGET', BLOCKED, 'local-only')
if only_local then redis.call('HSETNX', SWITCHES, 'local-only', only_local) end

for _, key in ipairs(redis.call('SRANDMEMBER', RQ_WORKERS, MAX_PARTS)) do
  if string.sub(key, 1, #RQ_WORKER) ~= RQ_WORKER or redis.call('EXISTS', key) == 0 then
    redis.call('SREM', RQ_WORKERS, key)
    for _, queue in ipairs(redis.call('SMEMBERS', RQ_QUEUES)) do
      redis.call('SREM', RQ_WORKERS_OF .. string.sub(queue, #RQ_QUEUE + 1), key)
    end
  end
end

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
for _, status in ipairs(ENDS) do  -- also jobs that JOBS has lost
  for _, id in ipairs(redis.call('ZRANGE', JOBS_ENDED .. status, 0, MAX_PARTS - 1)) do
    if redis.call('EXISTS', RECORD .. id) == 0 then redis.call('ZREM', JOBS_ENDED .. status, id) end
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
