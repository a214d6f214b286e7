-- Claim up to `want` jobs: promote what is due, pop, lease, mark started. One round trip; nothing half done.
-- No job is popped for a model whose breaker is open, whose key is parked or that cools down after a 429; a probe that is
-- due is handed out instead, also when nothing is queued: else an open breaker that routing avoids would never close.
-- ARGV: clock, worker, nonce (unique to this claim), want, lease (ms), calls in flight here, state rq was told,
--       pool, suspect this worker has drained for ('' if none), pool is local (1/0),
--       places (';target=index in ARGV of a queue of its model=backend' each: where it can be probed),
--       turns (';urgency=share=first=last' each, see turns.lua), jobs this worker has claimed since it last kept
--       account of them, after how many it does, how many it may take that are not interactive,
--       then for each queue in drain order:
--       queue name, backends ('name=slots=key=reserved,...'; the key's name may be empty), lease of a probe (ms)
-- Reply: {state, now, next due (ms, 0: nothing), suspect to drain for, left (1: jobs wait for a slot), {job...},
--         {foreign...}, {probe...}}
--   job: {id, token, queue, backend, envelope, deadline, attempts, deliveries, crashes, watch, accepted,
--         epoch of the model's breaker, epoch of the key's, {answer kept...}, {how it fell: reason, detail, at, falls,
--         strikes, stand-in} ({}: it has not)}
--   foreign: {rq job id, queue, rq data}: put in with plain rq; it asks for an accepted job
--   probe: {target, backend, model, token}
local now = clock()
local worker, nonce, want, lease = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local busy, told, pool, drained, is_local = tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[9], ARGV[10] == '1'
local places, FIRST, WIDTH = ARGV[11], 16, 3
local jobs, foreign, probes = {}, {}, {}

local function say(state)
  if state ~= told and redis.call('EXISTS', RQ_WORKER .. worker) == 1 then
    redis.call('HSET', RQ_WORKER .. worker, 'state', state)
  end
  return state
end

if redis.call('EXISTS', RQ_SUSPENDED) == 1 then
  return {say('suspended'), tostring(now), '0', '', 0, jobs, foreign, probes}
end

local sight = look_at_seats(now)
if sight.blocked['local-only'] and not is_local then
  return {say(busy > 0 and 'busy' or 'idle'), tostring(now), '0', '', 0, jobs, foreign, probes}
end

local at = iso(now)
local seconds = string.format('%.3f', now / 1000)

local epochs = {}
local function epoch_of(target)
  if not epochs[target] then epochs[target] = redis.call('HGET', BREAKER .. target, 'epoch') or '0' end
  return epochs[target]
end

local function how_it_fell(id)
  local told = redis.call('HMGET', RECORD .. id, 'fell_for', 'fell_why', 'fell_at', 'falls', 'strikes', 'stand_in')
  for i = 1, 6 do told[i] = told[i] or '' end
  return told
end

local function take(id, queue, seat)
  local r = redis.call('HMGET', RECORD .. id, 'state', 'deadline', 'attempts', 'deliveries', 'crashes', 'watch',
    'accepted', 'deltas', 'queue', 'local', 'answers', 'stand_in')
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
  if r[10] and not is_local then  -- a wiring error put it here: it must not leave, so it stays where nobody calls
    fall(id, 'local_only', 'it may not leave the local pools, but it was in ' .. queue, now)
    return
  end
  local backend = seat.name
  local token = nonce .. #jobs .. mark_of(queue)
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
  local kept = r[11] and redis.call('LRANGE', ANSWERS .. id, 0, -1) or {}
  jobs[#jobs + 1] = {id, token, queue, backend, redis.call('GET', PROMPT .. id) or '', r[2], r[3] or '', deliveries,
    tonumber(r[5] or 0), r[6] or '', r[7], epoch_of(backend .. '/' .. model_of(queue)),
    seat.key == '' and '0' or epoch_of('key:' .. seat.key), kept,
    (queue == DEGRADE or r[12]) and how_it_fell(id) or {}}
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
  for i = FIRST, #ARGV, WIDTH do
    if not paused[ARGV[i]] then backends_of[ARGV[i]] = ARGV[i + 1] end
  end
  local waiting = redis.call('ZRANGEBYSCORE', SUSPECTS .. pool, '-inf', now, 'LIMIT', 0, 16)
  if drained ~= '' and redis.call('ZSCORE', SUSPECTS .. pool, drained) then table.insert(waiting, 1, drained) end
  for _, id in ipairs(waiting) do
    local queue = redis.call('HGET', RECORD .. id, 'queue')
    local wanted = redis.call('HGET', RQ_JOB .. id, 'status') == 'scheduled'  -- not cancelled with rq's own tools
    local seat = roomiest(sight, wanted and backends_of[queue] or '', queue or '')
    if seat and busy > 0 then
      redis.call('ZADD', SUSPECTS .. pool, now + 60000, id)
      suspect, want = id, 0
      break
    elseif seat then
      remove_waiting(id, 'scheduled', queue, now)
      redis.call('HSET', RECORD .. id, 'state', 'queued')
      take(id, queue, seat)
      suspect, want = id, 0
      break
    end
  end
end

-- Take up to `count` jobs of the queue at ARGV[i]: how many are left in it, and whether for want of slots.
local others = tonumber(ARGV[15])
local function drain(i, count)
  local queue = ARGV[i]
  local urgent, length = is_urgent(queue), redis.call('LLEN', RQ_QUEUE .. queue)
  local most = math.min(want, #jobs + #foreign + (urgent and count or math.min(count, others)))
  local full = false
  while length > 0 and #jobs + #foreign < most and not paused[queue] do
    local seat, room, lacks_slots = roomiest(sight, ARGV[i + 1], queue)
    full = lacks_slots
    if not seat then break end
    local popped = redis.call('LPOP', RQ_QUEUE .. queue, math.min(most - #jobs - #foreign, room, length))
    if not popped then break end
    for _, id in ipairs(popped) do
      local before = #jobs
      take(id, queue, seat)
      seat_taken(sight, seat.name, queue, #jobs - before)
      if not urgent then others = others - (#jobs - before) end
    end
    length = length - #popped
    if length == 0 then redis.call('DEL', BELL .. queue) end
  end
  return length, (full or (not urgent and others < 1)) and not paused[queue]
end

-- Whether a job waits in these queues that could be called now, but for slots.
local function waits(first, last)
  local lists = {}
  for i = first, last, WIDTH do lists[#lists + 1] = RQ_QUEUE .. ARGV[i] end
  if redis.call('EXISTS', unpack(lists)) == 0 then return false end
  if not sight.troubled and not next(paused) then return true end
  for i = first, last, WIDTH do
    if not paused[ARGV[i]] and redis.call('EXISTS', RQ_QUEUE .. ARGV[i]) == 1 then
      local seat, _, full = roomiest(sight, ARGV[i + 1], ARGV[i])
      if seat or full then return true end
    end
  end
  return false
end

local left = 0
if want > 0 then
  local turns = turns_of(ARGV[12], pool)
  for _, turn in ipairs(turns) do take_turn(turn, drain, jobs, WIDTH) end
  local before, most_urgent = #jobs, nil
  for i = FIRST, #ARGV, WIDTH do
    if #jobs + #foreign >= want then break end
    local length, full = drain(i, want)
    if length > 0 and full then left = 1 end
    if #jobs > before and not most_urgent then most_urgent = i end
  end
  local since, every = #jobs + ARGV[13], tonumber(ARGV[14])
  keep_account(turns, pool, most_urgent, since >= every and since or 0, waits)
end

local due = NEVER
if sight.troubled then
  local to_probe
  to_probe, due = due_probes(sight, places)
  for _, probe in ipairs(to_probe) do hand_out_probe(sight, probe, nonce .. 'p' .. #probes, probes) end
end

if #jobs == 0 then
  local first = redis.call('ZRANGE', SCHEDULED .. pool, 0, 0, 'WITHSCORES')
  if first[2] then due = math.min(due, tonumber(first[2])) end
end
local state = (#jobs > 0 or busy > 0) and 'busy' or 'idle'
return {say(state), tostring(now), due < NEVER and ms(due) or '0', suspect, left, jobs, foreign, probes}
