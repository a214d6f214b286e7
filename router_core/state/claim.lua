-- Claim up to `want` jobs: promote what is due, pop, lease, mark started. One round trip; nothing half done.
-- ARGV: clock, worker, nonce (unique to this claim), want, lease (ms), calls in flight here, state rq was told,
--       pool, suspect this worker has drained for ('' if none), then for each queue in drain order:
--       queue name, backends ('name=slots,name=slots')
-- Reply: {state, now, next due (ms, 0: nothing), suspect to drain for, left (1: jobs wait for a slot), {job...}, {foreign...}}
--   job: {id, token, queue, backend, envelope, deadline, attempts, deliveries, crashes, watch, accepted}
--   foreign: {rq job id, queue, rq data}: put in with plain rq; it asks for an accepted job
local now = clock()
local worker, nonce, want, lease = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local busy, told, pool, drained = tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[9]
local jobs, foreign = {}, {}

local function say(state)
  if state ~= told and redis.call('EXISTS', RQ_WORKER .. worker) == 1 then
    redis.call('HSET', RQ_WORKER .. worker, 'state', state)
  end
  return state
end

if redis.call('EXISTS', RQ_SUSPENDED) == 1 then
  return {say('suspended'), tostring(now), '0', '', 0, jobs, foreign}
end

local at = iso(now)
local seconds = string.format('%.3f', now / 1000)

local function take(id, queue, backend)
  local r = redis.call('HMGET', RECORD .. id, 'state', 'deadline', 'attempts', 'deliveries', 'crashes', 'watch',
    'accepted', 'deltas', 'queue')
  if not r[1] then
    local data = redis.call('HGET', RQ_JOB .. id, 'data')
    if data then
      redis.call('ZADD', FOREIGN, now + lease, id)
      redis.call('HSET', FOREIGN_QUEUE, id, queue)
      foreign[#foreign + 1] = {id, queue, data}
    end
    return
  end
  -- An id that is still listed although its job went on (an rq tool pushed it): whoever holds the job has it.
  if r[1] == 'done' or r[1] == 'held' then  -- or that asks for itself: rq's own requeue
    local job = redis.call('HMGET', RQ_JOB .. id, 'status', 'data')
    if job[1] == 'queued' and job[2] then
      redis.call('ZADD', FOREIGN, now + lease, id)
      redis.call('HSET', FOREIGN_QUEUE, id, queue)
      foreign[#foreign + 1] = {id, queue, job[2]}
    end
  end
  if r[1] ~= 'queued' then return end
  if r[9] ~= queue then  -- a tool moved it: back to where its record says, which may be the only place it may be in
    redis.call('LREM', RQ_QUEUE .. r[9], 0, id)
    enqueue(id, r[9], true, now)
    return
  end
  local token = nonce .. #jobs
  local member = id .. ':' .. token
  local deliveries = tonumber(r[4] or 0) + 1
  redis.call('HSET', RECORD .. id, 'state', 'started', 'lease', token, 'worker', worker, 'backend', backend,
    'deliveries', deliveries)
  redis.call('ZADD', LEASES .. backend, now + lease, member)
  redis.call('HSET', RQ_JOB .. id, 'status', 'started', 'started_at', at, 'last_heartbeat', at, 'worker_name', worker)
  redis.call('HSET', RQ_EXECUTION .. member, 'id', token, 'created_at', seconds, 'last_heartbeat', seconds,
    'worker_name', worker)
  redis.call('ZADD', RQ_EXECUTIONS .. id, '+inf', token)
  redis.call('ZADD', RQ_WIP .. queue, '+inf', member)
  if r[8] then tell(id, '{"event":"reset","at":' .. string.format('%.0f', now) .. '}') end
  tell(id, '{"event":"started","at":' .. string.format('%.0f', now) .. ',"delivery":' .. deliveries
    .. ',"backend":"' .. backend .. '"}')
  jobs[#jobs + 1] = {id, token, queue, backend, redis.call('GET', PROMPT .. id) or '', r[2], r[3] or '', deliveries, tonumber(r[5] or 0),
    r[6] or '', r[7]}
end

-- Slots in use are counted by live leases, fleet-wide, once a backend and claim.
local free_slots = {}
local function roomiest(backends)
  local best, room
  for name, slots in string.gmatch(backends, '([^=,]+)=(%d+)') do
    if not free_slots[name] then free_slots[name] = tonumber(slots) - redis.call('ZCARD', LEASES .. name) end
    if not best or free_slots[name] > room then best, room = name, free_slots[name] end
  end
  return best, room
end

-- The last first: each goes to the front, so that who was due first is at the head.
local due_ids = redis.call('ZRANGEBYSCORE', SCHEDULED .. pool, '-inf', now, 'LIMIT', 0, 64)
for i = #due_ids, 1, -1 do
  local id = due_ids[i]
  redis.call('ZREM', SCHEDULED .. pool, id)
  local r = redis.call('HMGET', RECORD .. id, 'state', 'queue')
  -- What rq's own tools cancelled or deleted is left to the sweep.
  if r[1] == 'scheduled' and redis.call('HGET', RQ_JOB .. id, 'status') == 'scheduled' then
    redis.call('ZREM', RQ_SCHEDULED .. r[2], id)
    enqueue(id, r[2], true, now)  -- at the front: it has waited its turn before
  end
end

local paused = {}
for _, name in ipairs(redis.call('SMEMBERS', PAUSED)) do paused[name] = true end

-- A job that may be crashing its workers runs alone: one worker lets its other calls end first, then takes it.
local suspect = ''
if redis.call('EXISTS', SUSPECTS .. pool) == 1 then
  local backends_of = {}
  for i = 10, #ARGV, 2 do
    if not paused[ARGV[i]] then backends_of[ARGV[i]] = ARGV[i + 1] end
  end
  local waiting = redis.call('ZRANGEBYSCORE', SUSPECTS .. pool, '-inf', now, 'LIMIT', 0, 16)
  if drained ~= '' and redis.call('ZSCORE', SUSPECTS .. pool, drained) then table.insert(waiting, 1, drained) end
  for _, id in ipairs(waiting) do
    local queue = redis.call('HGET', RECORD .. id, 'queue')
    local wanted = redis.call('HGET', RQ_JOB .. id, 'status') == 'scheduled'  -- not cancelled with rq's own tools
    local backend, room = roomiest(wanted and backends_of[queue] or '')
    if backend and busy > 0 then
      redis.call('ZADD', SUSPECTS .. pool, now + 60000, id)
      suspect, want = id, 0
      break
    elseif backend and room > 0 then
      remove_waiting(id, 'scheduled', queue)
      redis.call('HSET', RECORD .. id, 'state', 'queued')
      take(id, queue, backend)
      suspect, want = id, 0
      break
    end
  end
end

local left = 0
if want > 0 then
  for i = 10, #ARGV, 2 do
    local queue = ARGV[i]
    local length = redis.call('LLEN', RQ_QUEUE .. queue)
    while length > 0 and #jobs + #foreign < want and not paused[queue] do
      local backend, room = roomiest(ARGV[i + 1])
      if not backend or room < 1 then break end
      local popped = redis.call('LPOP', RQ_QUEUE .. queue, math.min(want - #jobs - #foreign, room, length))
      if not popped then break end
      for _, id in ipairs(popped) do
        local before = #jobs
        take(id, queue, backend)
        free_slots[backend] = free_slots[backend] - (#jobs - before)
      end
      length = length - #popped
      if length == 0 then redis.call('DEL', BELL .. queue) end
    end
    if length > 0 and not paused[queue] then left = 1 end
    if #jobs + #foreign >= want then break end
  end
end

local due = '0'
if #jobs == 0 then
  local first = redis.call('ZRANGE', SCHEDULED .. pool, 0, 0, 'WITHSCORES')
  if first[2] then due = first[2] end
end
local state = (#jobs > 0 or busy > 0) and 'busy' or 'idle'
return {say(state), tostring(now), due, suspect, left, jobs, foreign}
