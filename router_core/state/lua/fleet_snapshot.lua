-- @include breaker
-- @include capacity
-- @include queue_depths
-- The fleet at this moment, for routing: of each model its queues, slots, breakers and pace; of the fleet its switch.
-- Arguments: models ({model, backends: {name, slots, keys, reserved, rates}..., queues}...)
-- Bodies: breaker policy (JSON)
-- Reply: {now, why only local ('': not), {loaded: backend, JSON...}, {health: target, JSON...},
--   {queue of an unknown model that a live worker serves...}, {model...}, {card, state (JSON)...}} (cards with a manager)
--   model: {model, {{queue, jobs waiting, accepted (ms) of the first ('': none), paused, served by a live worker}...},
--     {{backend, free slots, free slots that are not reserved, block of the model, calls, failed, slow, ms,
--     least urgent jobs that its card admits (0 to 2; -1: none; 2 without a card),
--     {{key ('': it has none), its block, its cooldown for the model, the cause of that; with limits also: from when an
--     interactive call may start and the number of the limit that lets it wait, the same for another call}...}}...}}
--   block: {'open UNTIL' ... (see breaker.lua; '': none), and of an open breaker why, error, cause}
local policy, capacity = decode_once(ARGV[3]), load_capacity(now)
local blocked = capacity.blocked
local paused = read_paused()
-- The workers of a pool serve the same queues: their list is split once.
local served, is_split = {}, {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', PRESENCE, '(' .. now, '+inf')) do
  local queues = redis.call('HGET', RQ_WORKER .. worker, 'queues') or ''
  if not is_split[queues] then
    is_split[queues] = true
    for queue in string.gmatch(queues, '[^,]+') do served[queue] = true end
  end
end

local all_queues, targets = {}, {}
for _, model in ipairs(args.models) do
  for _, queue in ipairs(model.queues) do all_queues[#all_queues + 1] = queue end
  for _, backend in ipairs(model.backends) do targets[#targets + 1] = backend.name .. '/' .. model.model end
end
local depths, has_window = read_depths(all_queues, 1), existing(BREAKER_WINDOW, targets)

-- The free slots of a backend, and how many of them a job may use that is not interactive.
local function free_slots(backend)
  local free = backend.slots - slots_used(capacity, backend.name)
  if backend.reserved == 0 then return free, free end
  return free, math.min(free, backend.slots - backend.reserved - slots_used_not_interactive(capacity, backend.name))
end

local function block_of(target)
  local block, open = blocked[target] or '', {}
  if string.find(block, '^[oh]') then open = fields(BREAKER .. target, 'why', 'error', 'cause') end
  return {block, open.why or '', open.error or '', open.cause or ''}
end

local function key_state(model, backend, key)
  local target = cooldown_target(backend.name, model, #backend.keys > 1 and key or '')
  local cool = blocked[target .. ' cool']
  local state = {key, block_of('key:' .. key), cool or '',
    cool and redis.call('HGET', BREAKER .. target, 'cool_cause') or ''}
  if not backend.rates[1] then return state end
  state[5], state[6] = limited_until(capacity, backend, key, true, 0)
  state[7], state[8] = limited_until(capacity, backend, key, false, 0)
  return state
end

local function backend_state(model, backend)
  local target = backend.name .. '/' .. model
  local sums, keys = has_window[target] and window_sums(target, policy, now) or {n = 0, f = 0, s = 0, ms = 0}, {}
  for i = 1, math.max(1, #backend.keys) do keys[i] = key_state(model, backend, backend.keys[i] or '') end
  local free, unreserved = free_slots(backend)
  local admitted = 2
  if backend.card ~= '' then admitted = number(redis.call('HGET', CARD_ADMITTED .. backend.card, model), -1) end
  return {backend.name, free, unreserved, block_of(target), sums.n, sums.f, sums.s, sums.ms, admitted, keys}
end

local cards, is_read = {}, {}
local function read_card(card, pool)
  if card == '' or is_read[card] then return end
  is_read[card] = true
  if number(redis.call('HGET', CARD_MANAGER .. pool, 'until'), 0) > now then
    cards[#cards + 1] = {card, redis.call('HGET', CARD .. card, 'state') or ''}
  end
end

local known, models = {}, {}
for _, model in ipairs(args.models) do
  local queues, backends = {}, {}
  for i, queue in ipairs(model.queues) do
    known[queue] = true
    local depth = depths[queue] or {waiting = 0}
    queues[i] = {queue, depth.waiting, depth.first and ms(depth.first) or '', paused[queue] and 1 or 0, served[queue] and 1 or 0}
  end
  for i, backend in ipairs(model.backends) do
    backends[i] = backend_state(model.model, backend)
    read_card(backend.card, string.match(model.queues[1], '^[^.]*'))
  end
  models[#models + 1] = {model.model, queues, backends}
end

local unknown_queues = {}
for queue in pairs(served) do
  if not known[queue] then unknown_queues[#unknown_queues + 1] = queue end
end
return {tostring(now), blocked['local-only'] or '', redis.call('HGETALL', LOADED), redis.call('HGETALL', HEALTH),
  unknown_queues, models, cards}
