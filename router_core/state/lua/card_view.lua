-- @include breaker
-- @include capacity
-- @include producer_turns
-- What the placement of models on a pool's cards depends on. Also makes the worker the manager of these cards, if no other
-- worker is, or keeps it the manager. Each change of the manager has a new epoch, which fences its writes.
-- Arguments: pool, worker, lease_ms, cards (names), backends ({name, card}...), models ({model, backends (names), queues}...)
-- Reply: {epoch (0: another worker is the manager), now, {demand...}, {call...}, {card...}, {model, unmet (ms)...}...,
--   {target, facts (JSON)...}}
--   demand: {queue, jobs, accepted (ms) of the first, its deadline (ms)}
--   call: {backend, job id, token, queue, since (ms), 1 if its job was put back before}
--   card: {card, version, state (JSON), {order, value...}, {use, when (ms)...}}
local manager = CARD_MANAGER .. args.pool
local holder = fields(manager, 'worker', 'epoch', 'until')
local lease_end = number(holder['until'], 0)
-- A lease that ends later than a whole one from now is of a clock that has been set back: it is over.
if holder.worker ~= args.worker and lease_end > now and lease_end <= now + args.lease_ms then
  return {0, tostring(now), {}, {}, {}, {}, {}}
end
local epoch = number(holder.epoch, 0)
if holder.worker ~= args.worker then epoch = epoch + 1 end
redis.call('HSET', manager, 'worker', args.worker, 'epoch', epoch, 'until', now + args.lease_ms)

local capacity, paused = load_capacity(now), read_paused()

-- Jobs of a model that no breaker lets a worker call make no demand: a model that is loaded for them would wait for ever.
local function takes_calls(model)
  for _, backend in ipairs(model.backends) do
    if allowed_slots(capacity, backend .. '/' .. model.model, 1) > 0 then return true end
  end
  return false
end

local demands, by_queue, unmet = {}, {}, {}
local function add_demand(queue, id, jobs)
  local job = fields(RECORD .. id, 'accepted', 'deadline')
  local demand = {queue, jobs, job.accepted or ms(now), job.deadline or ms(now + DAY_MS)}
  demands[#demands + 1], by_queue[queue] = demand, demand
end
local served = {}
for _, model in ipairs(args.models) do
  if takes_calls(model) then
    for _, queue in ipairs(model.queues) do
      served[queue] = not paused[queue]
      local first = served[queue] and redis.call('LINDEX', RQ_QUEUE .. queue, 0)
      if first then add_demand(queue, first, length_of(queue)) end
    end
    local noted = redis.call('LRANGE', UNMET_DEMAND .. model.model, 0, -1)
    if noted[1] then unmet[#unmet + 1] = {model.model, noted} end
  end
end
for _, id in ipairs(redis.call('ZRANGE', SUSPECTS .. args.pool, 0, 15)) do
  local queue = redis.call('HGET', RECORD .. id, 'queue')
  if queue and served[queue] and not by_queue[queue] then add_demand(queue, id, 1) end
end

local calls = {}
for _, backend in ipairs(args.backends) do
  local used = {}
  for _, member in ipairs(redis.call('ZRANGE', LEASES .. backend.name, 0, -1)) do
    local id, token = string.match(member, '^([^:]+):(.+)$')
    local job = id and fields(RECORD .. id, 'queue', 'put_back')
    if job and job.queue then
      local since = tonumber(redis.call('HGET', RQ_EXECUTION .. member, 'created_at') or '') or now / 1000
      calls[#calls + 1] = {backend.name, id, token, job.queue, ms(since * 1000), job.put_back and 1 or 0}
      used[#used + 1], used[#used + 2] = parts_of(job.queue).model_and_urgency, now
    end
  end
  if used[1] then redis.call('HSET', CARD_USED .. backend.card, unpack(used)) end
end

-- The moments of a hash. None is later than now: it would be for as long as the clock has been set back.
local function moments(key)
  local entries = redis.call('HGETALL', key)
  for i = 2, #entries, 2 do
    if number(entries[i], 0) > now then
      redis.call('HSET', key, entries[i - 1], now)
      entries[i] = now
    end
  end
  return entries
end

local cards = {}
for i, card in ipairs(args.cards) do
  local state = fields(CARD .. card, 'version', 'state')
  cards[i] = {card, state.version or '0', state.state or '', moments(CARD_ORDERS .. card), moments(CARD_USED .. card)}
end
return {epoch, tostring(now), demands, calls, cards, unmet, redis.call('HGETALL', MODEL_FACTS)}
