-- @include key_rotation
-- Capacity: the backends at which a job may be called now. Slots are counted by live leases, over the whole fleet. Breakers,
-- cooldowns, limits and reserved slots reduce them.

local function is_interactive(queue) return parts_of(queue).is_interactive end

-- The state of one moment, for the functions below: the entries of BLOCKED (see breaker.lua), and the slots in use,
-- counted once for each backend.
local function load_capacity(now)
  local blocked, entries = {}, redis.call('HGETALL', BLOCKED)
  for i = 1, #entries, 2 do blocked[entries[i]] = readable_block(entries[i], entries[i + 1]) end
  return {now = now, blocked = blocked, any_blocked = #entries > 0, used = {}, not_interactive = {}, last_keys = {},
    limits = {}, charged = {}, tokens = {}, limited_until = NEVER, admitted = {}, called = {}}
end

-- The calls of a model in flight, at any backend.
local function calls_of(capacity, queue)
  local prefix = parts_of(queue).all_but_urgency
  if not capacity.called[prefix] then
    local calls = 0
    for _, urgency in ipairs({'interactive', 'background', 'batch'}) do
      calls = calls + redis.call('ZCARD', RQ_WIP .. prefix .. urgency)
    end
    capacity.called[prefix] = calls
  end
  return capacity.called[prefix]
end

-- The slots of a backend for a model on a card: none unless the card admits jobs of this urgency for the model.
local URGENCY_RANK = {interactive = '0', background = '1', batch = '2'}
local function admitted_slots(capacity, backend, queue)
  local card = backend.card
  local admitted = capacity.admitted[card]
  if not admitted then
    admitted = {}
    local entries = redis.call('HGETALL', CARD_ADMITTED .. card)
    for i = 1, #entries, 2 do admitted[entries[i]] = entries[i + 1] end
    capacity.admitted[card] = admitted
  end
  local parts = parts_of(queue)
  local least_urgent = admitted[parts.model]
  if least_urgent and (URGENCY_RANK[parts.urgency] or '2') <= least_urgent then return backend.slots end
  capacity.closed = true
  return 0
end

-- Note that a call of a model on a card begins: once a second, in two hashes. The one that a claim reads anyway says when it
-- was last noted.
local NOTED_MS = 1000
local function note_card_used(capacity, card, queue)
  local parts = parts_of(queue)
  local use, admitted = parts.model_and_urgency, capacity.admitted[card]
  local age = capacity.now - number(admitted[use], 0)
  if age >= 0 and age < NOTED_MS then return end
  admitted[use] = capacity.now
  redis.call('HSET', CARD_ADMITTED .. card, use, capacity.now)
  redis.call('HSET', CARD_USED .. card, use, capacity.now)
end

local function slots_used(capacity, name)
  if not capacity.used[name] then capacity.used[name] = redis.call('ZCARD', LEASES .. name) end
  return capacity.used[name]
end

-- Slots that jobs which are not interactive use. Only called for a backend that has reserved slots.
local function slots_used_not_interactive(capacity, name)
  local n = capacity.not_interactive[name]
  if n then return n end
  n = 0
  for _, member in ipairs(redis.call('ZRANGE', LEASES .. name, 0, -1)) do
    if string.sub(member, -1) ~= INTERACTIVE_MARK then n = n + 1 end
  end
  capacity.not_interactive[name] = n
  return n
end

-- Note that `n` jobs of a queue were leased at a backend.
local function note_leased(capacity, name, queue, n)
  if next(capacity.called) then  -- only models on cards have slots of their own
    local prefix = parts_of(queue).all_but_urgency
    if capacity.called[prefix] then capacity.called[prefix] = capacity.called[prefix] + n end
  end
  capacity.used[name] = capacity.used[name] + n
  if capacity.not_interactive[name] and not is_interactive(queue) then
    capacity.not_interactive[name] = capacity.not_interactive[name] + n
  end
end

-- The tokens that a job counts at a backend, by an estimate: its prompt, and the limit of its answer. 0 without a limit of
-- tokens. A claim reads them once: first it considers the job, then it leases it.
local function call_tokens(capacity, backend, id)
  local counts = false
  for _, rate in ipairs(backend.rates) do counts = counts or rate.tokens end
  if not counts then return 0 end
  local row = capacity.tokens[id] or redis.call('HGET', RECORD .. id, 'tokens') or ''
  capacity.tokens[id] = row
  local prompt, answer = string.match(row, '^(%d+) ?(%d*)$')
  return (tonumber(prompt) or 0) + (tonumber(answer) or backend.answer_tokens)
end

-- The call that a queue would make next at a backend, for its limits; nil: it has none.
local function next_call(capacity, backend, queue, interactive, id)
  if not backend.rates[1] then return nil end
  id = id or redis.call('LINDEX', RQ_QUEUE .. queue, 0) or ''
  return {interactive = interactive, tokens = call_tokens(capacity, backend, id)}
end

-- The number of further calls of a model that has slots of its own. Its calls are counted only if those of all models at its
-- backends would be too many.
local function model_room(capacity, backends, slots, queue)
  local room = slots * #backends
  for _, backend in ipairs(backends) do room = room - slots_used(capacity, backend.name) end
  return room > 0 and room or slots * #backends - calls_of(capacity, queue)
end

-- The backend with the most free slots for a queue, how many jobs may be leased there at once, whether only slots are
-- missing, the key for them, and whether only a limit forbids them. While a backend ramps up, its reserved slots come
-- back first. `id`: the job in question (nil: the first of the queue).
local function least_loaded(capacity, backends, queue, id)
  local best, room, full, best_key, limited = nil, 0, false, nil, nil
  local model, interactive, model_slots, for_model = model_of(queue), is_interactive(queue), nil, nil
  for _, backend in ipairs(backends) do
    local allowed = backend.slots
    if backend.card ~= '' then allowed = admitted_slots(capacity, backend, queue) end
    if capacity.any_blocked and allowed > 0 then allowed = allowed_slots(capacity, backend.name .. '/' .. model, allowed) end
    local key, slots, free_at = '', 0, nil
    if allowed > 0 then
      key, slots, free_at = next_key(capacity, backend, model, next_call(capacity, backend, queue, interactive, id))
      allowed = math.min(allowed, slots)
      limited = free_at and math.min(free_at, limited or NEVER) or limited
    end
    local free = allowed - slots_used(capacity, backend.name)
    if backend.reserved > 0 and not interactive then
      free = math.min(free, allowed - backend.reserved - slots_used_not_interactive(capacity, backend.name))
    end
    if backend.card ~= '' and allowed > 0 and backend.model_slots < backend.slots then
      if backend.model_slots ~= model_slots then
        model_slots, for_model = backend.model_slots, model_room(capacity, backends, backend.model_slots, queue)
      end
      free = math.min(free, for_model)
    end
    if allowed > 0 and free < 1 then full = true end
    if free > room then best, room, best_key = backend, free, key end
  end
  if best and (#best.keys > 1 or best.rates[1]) then room = 1 end  -- keys take turns, and each call is charged
  if best or not limited then return best, room, full, best_key, false end
  capacity.limited_until = math.min(capacity.limited_until, limited)
  return nil, 0, full, nil, true
end
