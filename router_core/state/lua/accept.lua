-- Accept a job: write it down, put it into its queue, wake a worker. Answers after the write; bears being sent again.
-- ARGV: clock, id, queue, envelope, digest, producer, idempotency key, label, deadline (ms, '': none),
--       give_up (ms after now), keep (s), rq timeout (s), rq data, stream (1/0), start_within (ms), local only (1/0),
--       inbox ('' : none), reply_to (JSON), webhook ('' : none), depth limit (0: none), keep unread (s),
--       firm (1/0: its caller said until when an answer is wanted)
-- Reply: {'accepted' | 'joined' | 'conflict' | 'past', id, deadline, position}, or when nothing more is taken in:
--   {'pressed', id, why}, or {'full', id, jobs in the queue, how many of it were answered in the last minute}
local now = clock()
local id, queue, digest, key = ARGV[2], ARGV[3], ARGV[5], ARGV[7]
local known = redis.call('HMGET', RECORD .. id, 'digest', 'deadline')
if known[2] then
  -- An ended job has forgotten its digest: whoever offers it again under its own id is told where it is.
  if known[1] and known[1] ~= digest then return {'conflict', id} end
  return {'accepted', id, known[2], redis.call('LLEN', RQ_QUEUE .. queue)}
end
local idem = ''
if key ~= '' then
  idem = #ARGV[6] .. ':' .. ARGV[6] .. ':' .. key  -- its length first: a producer's name may have any character
  local stands = redis.call('GET', IDEMPOTENCY .. idem)
  if stands then
    local other, asked = string.match(stands, '^(%S+) (%S+)$')
    local deadline = redis.call('HGET', RECORD .. other, 'deadline')
    if deadline then
      if asked ~= digest then return {'conflict', other} end
      return {'joined', other, deadline, 0}
    end
  end
end
local deadline = tonumber(ARGV[9]) or now + tonumber(ARGV[10])
if deadline <= now then return {'past', id, tostring(now)} end
local pressure = redis.call('GET', PRESSURE)
if pressure then return {'pressed', id, pressure} end
local depth = tonumber(ARGV[20])
local waiting = depth > 0 and redis.call('LLEN', RQ_QUEUE .. queue) or 0
if depth > 0 and waiting >= depth then  -- what ended is listed by when it is forgotten: `keep` after its end
  local minute = math.floor(now / 1000) + tonumber(ARGV[11]) - 60
  return {'full', id, waiting, redis.call('ZCOUNT', RQ_FINISHED .. queue, minute, '+inf')}
end
deadline = string.format('%.0f', deadline)
if idem ~= '' then redis.call('SET', IDEMPOTENCY .. idem, id .. ' ' .. digest) end
local at = iso(now)
redis.call('HSET', RQ_JOB .. id, 'created_at', at, 'data', ARGV[13], 'description', ARGV[8], 'timeout', ARGV[12],
  'result_ttl', ARGV[11], 'status', 'queued', 'origin', queue, 'enqueued_at', at)
redis.call('HSET', RECORD .. id, 'state', 'queued', 'queue', queue, 'digest', digest, 'producer', ARGV[6],
  'deadline', deadline, 'accepted', now, 'keep', ARGV[11])
if idem ~= '' then redis.call('HSET', RECORD .. id, 'idem', idem) end
if ARGV[14] == '1' then redis.call('HSET', RECORD .. id, 'watch', 1) end
redis.call('SET', PROMPT .. id, ARGV[4])
if ARGV[16] == '1' then redis.call('HSET', RECORD .. id, 'local', 1) end
if ARGV[22] == '1' then redis.call('HSET', RECORD .. id, 'firm', 1) end
if ARGV[17] ~= '' or ARGV[19] ~= '' then  -- somebody reads later what came of it
  redis.call('HSET', RECORD .. id, 'mail', ARGV[21], 'reply_to', ARGV[18])
  if ARGV[17] ~= '' then redis.call('HSET', RECORD .. id, 'inbox', ARGV[17]) end
  if ARGV[19] ~= '' then redis.call('HSET', RECORD .. id, 'webhook', ARGV[19]) end
end
redis.call('ZADD', OPEN, math.min(tonumber(deadline), now + tonumber(ARGV[15])), id)
redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. queue)
local position = redis.call('RPUSH', RQ_QUEUE .. queue, id)
ring(queue)
redis.call('RPUSH', EVENTS .. id, '{"event":"queued","at":' .. string.format('%.0f', now)
  .. ',"queue":"' .. queue .. '","position":' .. position .. '}')
count('accepted')
return {'accepted', id, deadline, position}
