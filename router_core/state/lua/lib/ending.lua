-- The ends of things: of waiting, of a lease, of a job.

-- Take a job out of wherever it waits; of a held one, see `unhold` for `what`. A reaped job is at its queue's head, so that LREM finds it at once.
local function remove_waiting(id, state, queue, now, what)
  if state == 'queued' then
    redis.call('LREM', RQ_QUEUE .. queue, 1, id)
  elseif state == 'scheduled' then
    redis.call('ZREM', RQ_SCHEDULED .. queue, id)
    redis.call('ZREM', SCHEDULED .. pool_of(queue), id)
    redis.call('ZREM', SUSPECTS .. pool_of(queue), id)
  elseif state == 'held' then
    unhold(id, now, what)
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
-- plain (its story is in the result: nothing happened between its queueing, one delivery and this), released (by which
-- model), mail (seconds to keep it until it is read; nil: nobody reads it later).
local function finish(id, queue, ending, gone, now)
  local record, job = RECORD .. id, RQ_JOB .. id
  local keep = ending.mail and math.max(ending.keep, tonumber(ending.mail)) or ending.keep
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
  if ending.mail then mail(id, 'done', ending.result, now) end
  if ending.released then unrelease(id, ending.released, ending.status == 'answered') end
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

-- Let a job begin anew: what was tried stays told, but counts no longer. `wanted`: somebody asked for it, and forgives it
-- everything; what comes back by itself has its crashes and falls counted on.
local function renew(id, queue, at_front, why, now, wanted)
  local record = RECORD .. id
  local r = redis.call('HMGET', record, 'history', 'attempts')
  if r[2] then redis.call('HSET', record, 'history', r[1] and (r[1] .. '\n' .. r[2]) or r[2]) end
  redis.call('ZADD', OPEN, 'XX', now + 2000, id)
  redis.call('HDEL', record, 'attempts', 'status', 'ended', 'lease', 'fell_lease', 'stand_in')
  if wanted then redis.call('HDEL', record, 'crashes', 'falls', 'strikes', 'told') end
  local position = enqueue(id, queue, at_front, now)
  tell(id, cjson.encode({event = 'queued', at = now, queue = queue, position = position, why = why}))
end
