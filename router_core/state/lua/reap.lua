-- Take over what dead workers held: back to the front of its queue. Any worker does it for all.
-- A crash is counted only when the worker itself is gone: a lease can also end because its claim's reply was lost.
-- The second crash makes a job a suspect, which runs alone; the third, alone, condemns it: it falls as poisoned.
-- ARGV: clock, at most, crashes that condemn
-- Reply: {now, {id, queue, what came of it}...}
local now = clock()
local most, condemn = tonumber(ARGV[2]), tonumber(ARGV[3])
local reply = {tostring(now)}
if pulse(now) then return reply end

local function take_over(id, token, backend)
  local r = redis.call('HMGET', RECORD .. id, 'state', 'lease', 'queue', 'worker', 'crashes')
  local queue = r[3]
  if r[1] ~= 'started' or r[2] ~= token then
    redis.call('ZREM', LEASES .. backend, id .. ':' .. token)
    return
  end
  local gone = {}
  release(id, token, queue, backend, gone)
  redis.call('DEL', unpack(gone))
  local alive = tonumber(redis.call('ZSCORE', PRESENCE, r[4]) or 0) > now
  local crashes = tonumber(r[5] or 0)
  count('taken_over')
  if not alive and queue ~= DEGRADE then  -- no model was asked there: nothing of the job's kills a degrade worker
    crashes = redis.call('HINCRBY', RECORD .. id, 'crashes', 1)
    count('crashes')
  end
  local came = 'queued'
  if queue == DEGRADE then
    enqueue(id, queue, true, now)
  elseif crashes >= condemn then
    fall(id, 'poisoned', 'the worker that carried it out died ' .. crashes .. ' times', now)
    came = 'fallen'
  elseif crashes >= condemn - 1 then
    schedule(id, queue, now)
    redis.call('ZADD', SUSPECTS .. pool_of(queue), now, id)
    ring(queue)
    came = 'suspect'
  else
    enqueue(id, queue, true, now)
  end
  if came ~= 'fallen' then
    tell(id, cjson.encode({event = 'queued', at = now, queue = queue, position = 1,
      why = alive and 'its lease ended' or 'its worker died', worker = r[4], crashes = crashes}))
  end
  reply[#reply + 1] = {id, queue, came}
end

for _, backend in ipairs(redis.call('SMEMBERS', BACKENDS)) do
  local ended = redis.call('ZRANGEBYSCORE', LEASES .. backend, '-inf', now, 'LIMIT', 0, most)
  for i = #ended, 1, -1 do  -- the last first: each goes to the front
    local id, token = string.match(ended[i], '^([^:]+):(.+)$')
    take_over(id, token, backend)
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', FOREIGN, '-inf', now, 'LIMIT', 0, most)) do
  local queue = redis.call('HGET', FOREIGN_QUEUE, id)
  redis.call('ZREM', FOREIGN, id)
  redis.call('HDEL', FOREIGN_QUEUE, id)
  if queue then redis.call('LPUSH', RQ_QUEUE .. queue, id) end
end
redis.call('ZREMRANGEBYSCORE', PRESENCE, '-inf', now - 600000)
return reply
