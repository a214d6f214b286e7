-- @include queue_depths
-- @include acceptance_refusal
-- The fleet for people and monitors: queues, workers, totals. Changes nothing.
-- Arguments: max_producers (jobs of a queue that are compared for the oldest; absent: no queue is read)
-- Reply: {now (ms), {{queue, waiting, oldest accepted (ms; '': none), started, scheduled}...}, {paused queue...},
--   {{worker, alive (1 or 0), its hash...}...}, jobs that fall, held jobs, suspended (1 or 0), why no job is accepted
--   ('': they are), counters, since when (ms), maxmemory (bytes) and the jobs refused before it ('': unknown), LAST_WORKERS,
--   {{process of a gateway that lives, the digest of its catalog ('': unknown)}...}, LOST_WRITES ('': nothing)}
local paused, queues = redis.call('SMEMBERS', PAUSED), {}

local function queue_names()
  local prefix, is_known, names = #RQ_QUEUE + 1, {}, {}
  local function add(queue)
    if not is_known[queue] then is_known[queue], names[#names + 1] = true, queue end
  end
  for _, name in ipairs(redis.call('SMEMBERS', RQ_QUEUES)) do
    local queue = string.sub(name, prefix)
    if not string.find(queue, BACKLOG_MARK, 1, true) and queue ~= DEGRADE then add(queue) end
  end
  for _, queue in ipairs(paused) do add(queue) end
  return names
end

if args.max_producers then
  local names = queue_names()
  local depths = read_depths(names, args.max_producers)
  local started, scheduled = existing(RQ_WIP, names), existing(RQ_SCHEDULED, names)
  for _, queue in ipairs(names) do
    local depth = depths[queue] or {waiting = 0}
    queues[#queues + 1] = {queue, depth.waiting, depth.first and ms(depth.first) or '',
      started[queue] and redis.call('ZCARD', RQ_WIP .. queue) or 0,
      scheduled[queue] and redis.call('ZCARD', RQ_SCHEDULED .. queue) or 0}
  end
end

local workers = {}
for _, key in ipairs(redis.call('SMEMBERS', RQ_WORKERS)) do
  if string.sub(key, 1, #RQ_WORKER) == RQ_WORKER then
    local name = string.sub(key, #RQ_WORKER + 1)
    local alive = number(redis.call('ZSCORE', PRESENCE, name), 0) > now
    workers[#workers + 1] = {name, alive and 1 or 0, redis.call('HGETALL', key)}
  end
end

local gateways = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', GATEWAYS, now, '+inf')) do
  gateways[#gateways + 1] = {name, redis.call('GET', GATEWAY_CATALOG .. name) or ''}
end

return {ms(now), queues, paused, workers, redis.call('LLEN', RQ_QUEUE .. DEGRADE), redis.call('ZCARD', RQ_DEFERRED .. DEGRADE),
  redis.call('EXISTS', RQ_SUSPENDED), refusal() or '', redis.call('HGETALL', COUNTERS),
  refusal() and redis.call('GET', MEMORY_PRESSURE_SINCE) or '', redis.call('HGETALL', LAST_WORKERS), gateways,
  redis.call('GET', LOST_WRITES) or ''}
