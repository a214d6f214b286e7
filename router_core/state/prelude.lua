-- Shared by all scripts. Time is the server's own; a number in ARGV[1] replaces it (tests only).
local function clock()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- rq's time format. Days to a civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
local function iso(ms)
  local floor = math.floor
  local s = floor(ms / 1000)
  local days = floor(s / 86400)
  local z = days + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local day = doy - floor((153 * mp + 2) / 5) + 1
  local r = s - days * 86400
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03d000Z', year, month, day,
    floor(r / 3600), floor(r / 60) % 60, r % 60, ms % 1000)
end

local function pool_of(queue) return string.match(queue, '^([^.]*)') end
local function model_of(queue) return string.match(queue, '^[^.]*%.([^.]*)') or '' end
local function count(what, n) redis.call('HINCRBY', COUNTERS, what, n or 1) end

-- What happened to a job: appended for whoever reads later, announced to whoever listens now. `told` is JSON.
local function tell(id, told)
  redis.call('RPUSH', EVENTS .. id, told)
  redis.call('PUBLISH', NEWS .. id, '')
end

-- One entry wakes one waiting worker; a few are enough for a burst, since a claim takes many jobs.
local function ring(queue)
  if redis.call('LLEN', BELL .. queue) < 4 then redis.call('RPUSH', BELL .. queue, '1') end
end

local function enqueue(id, queue, at_front, now)
  redis.call('HSET', RQ_JOB .. id, 'status', 'queued', 'origin', queue, 'enqueued_at', iso(now))
  redis.call('HSET', RECORD .. id, 'state', 'queued', 'queue', queue)
  redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. queue)
  local position
  if at_front then
    redis.call('LPUSH', RQ_QUEUE .. queue, id)
    position = 1
  else
    position = redis.call('RPUSH', RQ_QUEUE .. queue, id)
  end
  ring(queue)
  return position
end

local function schedule(id, queue, due)
  redis.call('HSET', RQ_JOB .. id, 'status', 'scheduled', 'origin', queue)
  redis.call('HSET', RECORD .. id, 'state', 'scheduled', 'queue', queue)
  redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. queue)
  redis.call('ZADD', RQ_SCHEDULED .. queue, math.floor(due / 1000), id)
end

local function hold(id, reason, detail, now)
  redis.call('HSET', RQ_JOB .. id, 'status', 'deferred', 'origin', DEGRADE)
  redis.call('HSET', RECORD .. id, 'state', 'held', 'held_for', reason, 'held_why', detail, 'held_at', now)
  redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. DEGRADE)
  redis.call('ZADD', RQ_DEFERRED .. DEGRADE, math.floor(now / 1000), id)
  count('held_' .. reason)
  tell(id, cjson.encode({event = 'held', at = now, reason = reason, detail = detail}))
end

-- Take a job out of wherever it waits. A reaped job is at its queue's head, so that LREM finds it at once.
local function remove_waiting(id, state, queue)
  if state == 'queued' then
    redis.call('LREM', RQ_QUEUE .. queue, 1, id)
  elseif state == 'scheduled' then
    redis.call('ZREM', RQ_SCHEDULED .. queue, id)
    redis.call('ZREM', SCHEDULED .. pool_of(queue), id)
    redis.call('ZREM', SUSPECTS .. pool_of(queue), id)
  elseif state == 'held' then
    redis.call('ZREM', RQ_DEFERRED .. DEGRADE, id)
  end
end

-- End a lease. The keys that go with it are added to `gone`, for one DEL of everything at the end.
local function release(id, token, queue, backend, gone)
  redis.call('ZREM', LEASES .. backend, id .. ':' .. token)
  redis.call('ZREM', RQ_WIP .. queue, id .. ':' .. token)
  gone[#gone + 1] = RQ_EXECUTION .. id .. ':' .. token
  gone[#gone + 1] = RQ_EXECUTIONS .. id
end

-- rq keeps a result as a stream. One that XADD has grown carries 4 KB of spare room; a copy has none.
local function rq_result(id, keep, fields, gone)
  local key, draft = RQ_RESULTS .. id, RQ_RESULTS .. id .. ':draft'
  redis.call('XADD', draft, '*', unpack(fields))
  redis.call('COPY', draft, key, 'REPLACE')
  redis.call('EXPIRE', key, keep)
  gone[#gone + 1] = draft
end

local RQ_END = {  -- how rq shows an end: registry, Result.Type
  finished = {RQ_FINISHED, 1}, failed = {RQ_FAILED, 2}, stopped = {RQ_FAILED, 3}, canceled = {RQ_CANCELED, 2},
}

-- The one terminal result. `ending`: status, rq_status, result, value (for rq), why (for rq), keep (s), keep_prompt,
-- plain (its story is in the result: nothing happened between its queueing, one delivery and this).
local function finish(id, queue, ending, gone, now)
  local record, job, keep = RECORD .. id, RQ_JOB .. id, ending.keep
  redis.call('HSET', record, 'state', 'done', 'status', ending.status, 'settled', ending.settled or '', 'ended', now)
  redis.call('HDEL', record, 'lease', 'worker', 'backend', 'digest')  -- the result tells what is worth knowing of them
  redis.call('SET', RESULT .. id, ending.result, 'EX', keep)
  if ending.keep_prompt then redis.call('EXPIRE', PROMPT .. id, keep) else gone[#gone + 1] = PROMPT .. id end
  redis.call('HSET', job, 'status', ending.rq_status, 'origin', queue, 'ended_at', iso(now))
  redis.call('HDEL', job, 'last_heartbeat', 'timeout')
  redis.call('ZREM', RQ_CANCELED .. queue, id)  -- rq's own cancel of a running job put it there
  local registry = RQ_END[ending.rq_status]
  redis.call('ZADD', registry[1] .. queue, math.floor(now / 1000) + keep, id)
  local fields = {'type', registry[2]}
  if ending.value ~= '' then
    fields[3], fields[4] = 'return_value', ending.value
  end
  if ending.why ~= '' then
    fields[#fields + 1] = 'exc_string'
    fields[#fields + 1] = ending.why
  end
  rq_result(id, keep, fields, gone)
  redis.call('EXPIRE', record, keep)
  redis.call('EXPIRE', job, keep)
  redis.call('ZREM', OPEN, id)
  if ending.idem and ending.idem ~= '' then redis.call('EXPIRE', IDEMPOTENCY .. ending.idem, keep) end
  if redis.call('PUBLISH', NEWS .. id, '') == 0 and ending.plain then
    gone[#gone + 1] = EVENTS .. id
  else
    redis.call('RPUSH', EVENTS .. id, '{"event":"done","at":' .. string.format('%.0f', now)
      .. ',"status":"' .. ending.status .. '"}')
    redis.call('EXPIRE', EVENTS .. id, keep)
  end
  redis.call('DEL', unpack(gone))
  count(ending.status)
end

-- A silence of the whole fleet means that Redis, not the workers, was away: nobody could beat. Every lease and every
-- presence then lasts longer by what the silence lasted, and by some seconds for spooled settles: no outage is taken for
-- a crash, and who died before it or in it is found out as soon after it as without it.
local SILENCE, GRACE = 4000, 5000
local function pulse(now)
  local last = tonumber(redis.call('GET', PULSE) or now)
  redis.call('SET', PULSE, string.format('%.0f', math.max(now, last)))
  if now - last <= SILENCE then return false end
  local keys = {PRESENCE}
  for _, backend in ipairs(redis.call('SMEMBERS', BACKENDS)) do keys[#keys + 1] = LEASES .. backend end
  for _, key in ipairs(keys) do
    local ends = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #ends, 2 do redis.call('ZADD', key, ends[i + 1] + now - last + GRACE, ends[i]) end
  end
  count('silences')
  return true
end

-- Let a job begin anew: what was tried stays told, but counts no longer.
local function renew(id, queue, at_front, why, now)
  local record = RECORD .. id
  local r = redis.call('HMGET', record, 'history', 'attempts')
  if r[2] then redis.call('HSET', record, 'history', r[1] and (r[1] .. '\n' .. r[2]) or r[2]) end
  redis.call('ZADD', OPEN, 'XX', now + 2000, id)
  redis.call('HDEL', record, 'attempts', 'crashes', 'held_for', 'held_why', 'held_at', 'status', 'ended', 'lease')
  local position = enqueue(id, queue, at_front, now)
  tell(id, cjson.encode({event = 'queued', at = now, queue = queue, position = position, why = why}))
end
