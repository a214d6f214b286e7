-- Look after what nobody claims. Finds; what becomes of each is decided outside and done by `finish`.
-- Overdue: waiting past its deadline. Lost to rq: cancelled or deleted with rq's own tools, unknown to our record.
-- Strayed: taken off its list by a stock `rq worker` or a tool, which cannot carry it out. It goes back here and now.
-- ARGV: clock, at most, clean registries (1/0)
-- Reply: {now, {id, deliveries, why, attempts, deadline}...}, why in 'overdue', 'cancelled', 'deleted'
local now, most = clock(), tonumber(ARGV[2])
local reply = {tostring(now)}
local function found(id, why)
  local r = redis.call('HMGET', RECORD .. id, 'deliveries', 'attempts', 'deadline')
  reply[#reply + 1] = {id, r[1] or '0', why, r[2] or '', r[3]}
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', OPEN, '-inf', now, 'LIMIT', 0, most)) do
  local state = redis.call('HGET', RECORD .. id, 'state')
  if not state then redis.call('ZREM', OPEN, id)
  elseif state ~= 'started' then found(id, 'overdue') end
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
