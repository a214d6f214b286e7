-- The fleet for people and monitors: queues, workers, totals. Changes nothing.
-- Arguments: max_producers (jobs of a queue that are compared for the oldest)
-- Reply: {now (ms), {{queue, waiting, oldest accepted (ms; '': none), started, scheduled, paused (1 or 0)}...},
--   {{worker, alive (1 or 0), its hash...}...}, jobs that fall, held jobs, suspended (1 or 0), why no job is accepted
--   ('': they are), counters}
local prefix = #RQ_QUEUE + 1
local backlogs, paused, names = {}, {}, {}
for _, name in ipairs(redis.call('SMEMBERS', BACKLOGS)) do backlogs[name] = true end
for _, name in ipairs(redis.call('SMEMBERS', RQ_QUEUES)) do
  local queue = string.sub(name, prefix)
  if not backlogs[name] and queue ~= DEGRADE then names[queue] = true end
end
for _, queue in ipairs(redis.call('SMEMBERS', PAUSED)) do paused[queue], names[queue] = true, true end

-- Each producer's oldest job is among the first of the list: with one producer it is the first.
local function oldest(queue, producers)
  local first
  for _, id in ipairs(redis.call('LRANGE', RQ_QUEUE .. queue, 0, math.min(args.max_producers, math.max(1, producers)) - 1)) do
    local at = number(redis.call('HGET', RECORD .. id, 'accepted'), nil)
    if at and at >= 0 and (not first or at < first) then first = at end
  end
  return first and ms(first) or ''
end

local queues = {}
for queue in pairs(names) do
  local waiting, first = redis.call('LLEN', RQ_QUEUE .. queue), ''
  if waiting > 0 then
    -- A field for each producer in the list, and one for the jobs of all that are not in it.
    local producers = waiting > 1 and redis.call('HLEN', LISTED .. queue) or 1
    first = oldest(queue, producers)
    if producers > 1 then waiting = waiting + math.max(0, number(redis.call('HGET', LISTED .. queue, ''), 0)) end
  end
  queues[#queues + 1] = {queue, waiting, first, redis.call('ZCARD', RQ_WIP .. queue),
    redis.call('ZCARD', RQ_SCHEDULED .. queue), paused[queue] and 1 or 0}
end

local workers = {}
for _, key in ipairs(redis.call('SMEMBERS', RQ_WORKERS)) do
  if string.sub(key, 1, #RQ_WORKER) == RQ_WORKER then
    local name = string.sub(key, #RQ_WORKER + 1)
    local alive = number(redis.call('ZSCORE', PRESENCE, name), 0) > now
    workers[#workers + 1] = {name, alive and 1 or 0, redis.call('HGETALL', key)}
  end
end

return {ms(now), queues, workers, redis.call('LLEN', RQ_QUEUE .. DEGRADE), redis.call('ZCARD', RQ_DEFERRED .. DEGRADE),
  redis.call('EXISTS', RQ_SUSPENDED), redis.call('GET', MEMORY_PRESSURE) or '', redis.call('HGETALL', COUNTERS)}
