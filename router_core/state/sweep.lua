-- Look after what nobody claims. Finds; what becomes of each is decided outside and done by `finish`.
-- Overdue: waiting past its deadline. Lost to rq: cancelled or deleted with rq's own tools, unknown to our record.
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

local from = tonumber(redis.call('GET', AUDIT) or 0)
local open = redis.call('ZRANGE', OPEN, from, from + most - 1)
redis.call('SET', AUDIT, #open < most and 0 or from + most)
for _, id in ipairs(open) do
  local state = redis.call('HGET', RECORD .. id, 'state')
  local status = redis.call('HGET', RQ_JOB .. id, 'status')
  if status == 'canceled' then found(id, 'cancelled')
  elseif not status and state ~= 'started' then found(id, 'deleted') end
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
