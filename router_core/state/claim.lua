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

local blocked, troubled = {}, false
local told_blocks = redis.call('HGETALL', BLOCKED)
for i = 1, #told_blocks, 2 do blocked[told_blocks[i]], troubled = told_blocks[i + 1], true end
if blocked['local-only'] and not is_local then
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

local function is_urgent(queue) return string.sub(queue, -12) == '.interactive' end

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
  local token = nonce .. #jobs .. (is_urgent(queue) and 'i' or '')  -- what has reserved slots is known by its lease
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

-- Slots in use are counted by live leases, fleet-wide, once a backend and claim.
local used, used_by_others = {}, {}
local function slots_used(name)
  if not used[name] then used[name] = redis.call('ZCARD', LEASES .. name) end
  return used[name]
end

-- Slots in use by jobs that no slot is reserved for. Asked only of a backend that has reserved ones.
local function slots_used_by_others(name)
  if not used_by_others[name] then
    local others = 0
    for _, member in ipairs(redis.call('ZRANGE', LEASES .. name, 0, -1)) do
      if string.sub(member, -1) ~= 'i' then others = others + 1 end
    end
    used_by_others[name] = others
  end
  return used_by_others[name]
end

local function forget(block)
  redis.call('HDEL', BLOCKED, block)
  blocked[block] = nil
end

-- What keeps calls from a target: 'open' or 'probe' and its end, or 'ramp' and the share of its slots that is back.
-- What is over is forgotten here: BLOCKED is empty when all is well.
local function block_of(target)
  local told = blocked[target]
  if not told then return nil end
  local kind = string.sub(told, 1, 4)
  if kind == 'open' then return kind, tonumber(string.sub(told, 6)) end
  if kind == 'prob' then return 'probe', tonumber(string.sub(told, 7)) end
  local since, length = string.match(told, '(%d+) (%d+)')
  local share = (now - since) / length
  if share < 1 then return kind, share end
  forget(target)
  return nil
end

-- Until when a target cools down; nil when it does not.
local function cooling(target)
  local ends = tonumber(blocked[target .. ' cool'])
  if not ends or ends > now then return ends end
  forget(target .. ' cool')
  return nil
end

-- How many calls at once a target may have: none while it is open or half open, few while it comes back.
local function cap(target, slots)
  local kind, share = block_of(target)
  if kind == 'open' or kind == 'probe' or cooling(target) then return 0 end
  return kind and math.max(1, math.floor(slots * share)) or slots
end

local function seats_of(backends)
  local seats = {}
  for name, slots, key, reserved in string.gmatch(backends, '([^=,]+)=(%d+)=([^=,]*)=(%d+)') do
    seats[#seats + 1] = {name = name, slots = tonumber(slots), key = key, reserved = tonumber(reserved)}
  end
  return seats
end

-- The backend with the most free slots for a queue: its seat, the free slots, and whether slots are all that is missing.
-- Of those that come back after trouble the reserved ones come back first.
local function roomiest(backends, queue)
  local best, room, full = nil, 0, false
  local model, urgent = model_of(queue), is_urgent(queue)
  for _, seat in ipairs(seats_of(backends)) do
    local most = seat.slots
    if troubled then
      most = cap(seat.name .. '/' .. model, most)
      if seat.key ~= '' and most > 0 then most = math.min(most, cap('key:' .. seat.key, seat.slots)) end
    end
    local free = most - slots_used(seat.name)
    if seat.reserved > 0 and not urgent then
      free = math.min(free, most - seat.reserved - slots_used_by_others(seat.name))
    end
    if most > 0 and free < 1 then full = true end
    if free > room then best, room = seat, free end
  end
  return best, room, full
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
    local seat = roomiest(wanted and backends_of[queue] or '', queue or '')
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
    local seat, room, lacks_slots = roomiest(ARGV[i + 1], queue)
    full = lacks_slots
    if not seat then break end
    local popped = redis.call('LPOP', RQ_QUEUE .. queue, math.min(most - #jobs - #foreign, room, length))
    if not popped then break end
    for _, id in ipairs(popped) do
      local before = #jobs
      take(id, queue, seat)
      used[seat.name] = used[seat.name] + (#jobs - before)
      if not urgent then
        others = others - (#jobs - before)
        used_by_others[seat.name] = used_by_others[seat.name] and used_by_others[seat.name] + (#jobs - before)
      end
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
  if not troubled and not next(paused) then return true end
  for i = first, last, WIDTH do
    if not paused[ARGV[i]] and redis.call('EXISTS', RQ_QUEUE .. ARGV[i]) == 1 then
      local seat, _, full = roomiest(ARGV[i + 1], ARGV[i])
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
local function look_again_at(at)
  if at < due then due = at end
end

-- One probe in the whole fleet, held by a lease: a prober that dies gives it back by dying.
local function hand_out_probe(target, backend, model, lasts)
  local state = redis.call('HGET', BREAKER .. target, 'state')
  if state == 'open' then breaker_go(target, 'half_open', 'time to probe', {ramp = 0}, 0, now) end
  local token = nonce .. 'p' .. #probes
  redis.call('HSET', BREAKER .. target, 'probe', token)
  redis.call('HSET', BLOCKED, target, 'probe ' .. ms(now + lasts))
  blocked[target] = 'probe ' .. ms(now + lasts)
  probes[#probes + 1] = {target, backend, model, token}
end

-- Every block is looked at rather than every queue: there are few of them. A probe is a call: it waits as long as a 429
-- has asked everybody to. What is over is forgotten on the way, also of what no catalog names any more.
if troubled then
  local due_probes = {}
  local function is_ours(target) return string.find(places, ';' .. target .. '=', 1, true) end
  -- The first place that may be asked now; a key has several.
  local function probe_of(target)
    local head, from, soonest = ';' .. target .. '=', 1, NEVER
    while true do
      local at, stop = string.find(places, head, from, true)
      if not at then break end
      local i, backend = string.match(places, '^(%d+)=([^;]*)', stop + 1)
      local model = model_of(ARGV[tonumber(i)])
      local cool = cooling(backend .. '/' .. model)
      if not cool then return {at, target, backend, model, tonumber(ARGV[i + 2])} end
      soonest, from = math.min(soonest, cool), stop
    end
    look_again_at(soonest)
  end
  for name in pairs(blocked) do
    if string.sub(name, -5) == ' cool' then
      local target = string.sub(name, 1, -6)
      local ends = cooling(target)
      if ends and ends < due and is_ours(target) then due = ends end
    elseif name ~= 'local-only' then
      local kind, ends = block_of(name)
      if kind == 'open' or kind == 'probe' then
        if ends <= now then due_probes[#due_probes + 1] = probe_of(name)
        elseif ends < due and is_ours(name) then due = ends end
      end
    end
  end
  table.sort(due_probes, function(a, b) return a[1] < b[1] end)
  for n, probe in ipairs(due_probes) do
    if n <= 2 then hand_out_probe(unpack(probe, 2)) else look_again_at(now) end
  end
end

if #jobs == 0 then
  local first = redis.call('ZRANGE', SCHEDULED .. pool, 0, 0, 'WITHSCORES')
  if first[2] then look_again_at(tonumber(first[2])) end
end
local state = (#jobs > 0 or busy > 0) and 'busy' or 'idle'
return {say(state), tostring(now), due < NEVER and ms(due) or '0', suspect, left, jobs, foreign, probes}
