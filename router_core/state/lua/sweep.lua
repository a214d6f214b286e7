-- Look after what nobody claims. Finds; what becomes of each is decided outside and done by `finish` or `move`.
-- Overdue: waiting past its deadline. Late: waiting past its `start_within`; looked at again a little later.
-- Stranded: in a queue from which nobody can claim now, as the caller has seen. Lost to rq: cancelled or deleted with
-- rq's own tools, unknown to our record.
-- Strayed: taken off its list by a stock `rq worker` or a tool, which cannot carry it out. It goes back here and now.
-- ARGV: clock, at most, clean registries (1/0), then each stranded queue
-- Reply: {now, {id, deliveries, why, attempts, deadline, accepted, queue, envelope's head, {answer kept...},
--   stand-in}...},
--   why in 'overdue', 'late', 'stranded', 'cancelled', 'deleted'
local HEAD = 16384  -- bytes: no head of an envelope is longer; the body is not needed here and may be megabytes
local now, most = clock(), tonumber(ARGV[2])
local reply, seen = {tostring(now)}, {}
local function found(id, why)
  if seen[id] then return end
  seen[id] = true
  local r = redis.call('HMGET', RECORD .. id, 'deliveries', 'attempts', 'deadline', 'accepted', 'queue', 'answers', 'stand_in')
  if why == 'late' or why == 'stranded' then  -- nobody moves what was cancelled or deleted with rq's own tools
    local status = redis.call('HGET', RQ_JOB .. id, 'status')
    if not status then why = 'deleted' elseif status == 'canceled' then why = 'cancelled' end
  end
  local head = string.match(redis.call('GETRANGE', PROMPT .. id, 0, HEAD), '^[^\n]*')
  local kept = r[6] and redis.call('LRANGE', ANSWERS .. id, 0, -1) or {}
  reply[#reply + 1] = {id, r[1] or '0', why, r[2] or '', r[3], r[4], r[5], head, kept, r[7] or ''}
end

local LOOK_AGAIN = {interactive = 2000, background = 5000, batch = 10000}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OPEN, '-inf', now, 'LIMIT', 0, most)) do
  local r = redis.call('HMGET', RECORD .. id, 'state', 'deadline', 'queue')
  local state, deadline = r[1], tonumber(r[2] or 0)
  if not state then redis.call('ZREM', OPEN, id)
  elseif state ~= 'started' and deadline <= now then found(id, 'overdue')
  elseif state == 'held' then redis.call('ZADD', OPEN, deadline, id)
  else
    local again = now + (LOOK_AGAIN[string.match(r[3], '[^.]*$')] or 5000)
    redis.call('ZADD', OPEN, deadline > now and math.min(again, deadline) or again, id)
    if state ~= 'started' and r[3] ~= DEGRADE then found(id, 'late') end
  end
end
for i = 4, #ARGV do
  for _, id in ipairs(redis.call('LRANGE', RQ_QUEUE .. ARGV[i], 0, most - 1)) do
    if redis.call('HGET', RECORD .. id, 'state') == 'queued' then found(id, 'stranded') end
  end
end

-- A list is searched only when it is short: a stray that hides behind a long queue is found when that has drained.
local function strayed(id, queue, status)
  if status ~= 'queued' then return true end
  return redis.call('LLEN', RQ_QUEUE .. queue) <= 100 and not redis.call('LPOS', RQ_QUEUE .. queue, id)
end

local from = tonumber(redis.call('GET', AUDIT) or 0)
local open = redis.call('ZRANGE', OPEN, from, from + most - 1)
redis.call('SET', AUDIT, #open < most and 0 or from + most)
for _, id in ipairs(open) do
  local r = redis.call('HMGET', RECORD .. id, 'state', 'queue')
  local state, queue = r[1], r[2]
  local status = redis.call('HGET', RQ_JOB .. id, 'status')
  if status == 'canceled' then found(id, 'cancelled')
  elseif not status and state ~= 'started' then found(id, 'deleted')
  elseif state == 'queued' and strayed(id, queue, status) then
    redis.call('ZREM', RQ_FAILED .. queue, id)
    local position = enqueue(id, queue, true, now)
    count('strayed')
    tell(id, cjson.encode({event = 'queued', at = now, queue = queue, position = position,
      why = 'something that is no openfall worker had taken it'}))
  end
end

if ARGV[3] == '1' then
  local seconds = math.floor(now / 1000)
  for _, key in ipairs(redis.call('SMEMBERS', RQ_QUEUES)) do
    local queue = string.sub(key, #RQ_QUEUE + 1)
    for _, registry in ipairs({RQ_FINISHED, RQ_FAILED, RQ_CANCELED}) do
      redis.call('ZREMRANGEBYSCORE', registry .. queue, '-inf', seconds)
    end
  end
end
return reply
