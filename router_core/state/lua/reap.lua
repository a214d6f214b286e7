-- @include fall_and_release
-- @include lifecycle
-- @include fleet_silence
-- Take over the jobs of dead workers: each goes back to the front of its queue. Any worker does it for all.
-- A crash is counted only when the worker itself is gone: a lease can also end because the reply of its claim was lost.
-- The rule for suspects, which run alone, and for poisoned jobs is that of crash_limits.py.
-- Arguments: limit, suspect_after (crashes), condemn_after_alone (crashes), worker_retention_ms (how long a dead
--   worker's presence is kept), silence (see fleet_silence.lua)
-- Reply: {now, {id, queue, 'queued' | 'suspect' | 'fallen'}...}
local reply = {tostring(now)}
if end_silence(args.silence, now) then return reply end

local function worker_and_host(worker, host) return (worker or 'unknown') .. (host and ' on ' .. host or '') end

local function take_over(id, token, backend)
  local job = fields(RECORD .. id, 'state', 'lease', 'queue', 'worker', 'crashes', 'crashes_alone', 'alone', 'deadline',
    'reserve')
  local queue = queue_of(id, job)
  if job.state ~= 'started' or job.lease ~= token then
    redis.call('ZREM', LEASES .. backend, id .. ':' .. token)
    return
  end
  local keys_to_delete = {}
  end_lease(id, token, queue, backend, keys_to_delete, now, job.reserve, nil)
  redis.call('DEL', unpack(keys_to_delete))
  local alive = number(redis.call('ZSCORE', PRESENCE, job.worker or ''), 0) > now
  local dead = {}
  if not alive then
    local row = redis.call('HMGET', RQ_WORKER .. (job.worker or ''), 'hostname', LOG_FIELD)
    dead = {host = row[1] or nil, log = row[2] ~= '' and row[2] or nil}
  end
  local crashes, crashes_alone = tonumber(job.crashes) or 0, tonumber(job.crashes_alone) or 0
  examine_if_overdue(id, job.deadline, now)
  count('taken_over')
  if not alive and queue ~= DEGRADE then  -- the degrade worker calls no model: no job can kill it
    crashes = redis.call('HINCRBY', RECORD .. id, 'crashes', 1)
    if job.alone then crashes_alone = redis.call('HINCRBY', RECORD .. id, 'crashes_alone', 1) end
    count('crashes')
    redis.call('HSET', RECORD .. id, 'crash_log', dead.log or '', 'crash_host', dead.host or '')
  end
  local outcome = 'queued'
  if queue == DEGRADE then
    enqueue(id, queue, true, now)
  elseif crashes_alone >= args.condemn_after_alone then
    fall(id, 'poisoned', crashes .. ' workers died while they ran it, also while they ran no other job; the last was '
      .. worker_and_host(job.worker, dead.host), now)
    outcome = 'fallen'
  elseif crashes >= args.suspect_after then
    schedule_suspect(id, queue, nil, now)
    outcome = 'suspect'
  else
    enqueue(id, queue, true, now)
  end
  if outcome ~= 'fallen' then
    add_event(id, cjson.encode({event = 'queued', at = now, queue = queue, position = 1,
      why = alive and 'its lease ended' or 'its worker died', worker = job.worker, log = not alive and dead.log or nil,
      host = not alive and dead.host or nil, crashes = crashes}))
  end
  reply[#reply + 1] = {id, queue, outcome}
end

for _, backend in ipairs(redis.call('SMEMBERS', BACKENDS)) do
  local ended = redis.call('ZRANGEBYSCORE', LEASES .. backend, '-inf', now, 'LIMIT', 0, args.limit)
  for i = #ended, 1, -1 do  -- the last first: each goes to the front
    local id, token = string.match(ended[i], '^([^:]+):(.+)$')
    if id then
      take_over(id, token, backend)
    else
      redis.call('ZREM', LEASES .. backend, ended[i])
      note_unreadable(LEASES .. backend, 'names no delivery: ' .. ended[i])
    end
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', RQ_JOBS_TAKEN, '-inf', now, 'LIMIT', 0, args.limit)) do
  local queue = redis.call('HGET', RQ_JOB_QUEUES, id)
  redis.call('ZREM', RQ_JOBS_TAKEN, id)
  redis.call('HDEL', RQ_JOB_QUEUES, id)
  if queue and redis.call('SISMEMBER', RQ_QUEUES, RQ_QUEUE .. queue) == 0 then
    queue = redis.call('HGET', RQ_JOB .. id, 'origin') or DEGRADE
  end
  if queue then redis.call('LPUSH', RQ_QUEUE .. queue, id) end
end
redis.call('ZREMRANGEBYSCORE', PRESENCE, '-inf', now - args.worker_retention_ms)
return reply
