-- @include rate_limits
-- Capacity: the backends at which a job may be called now, and with which key. Slots are counted by live leases, over
-- the whole fleet. Breakers, cooldowns, limits and reserved slots reduce them.

local function is_interactive(queue) return parts_of(queue).is_interactive end

-- The end of the token of an interactive job's lease. It tells which leases may use reserved slots.
local function token_suffix(queue) return is_interactive(queue) and 'i' or '' end

-- A block, as it is. One that cannot be read is removed; that of a breaker which is not closed is probed at once.
local function readable_block(name, block)
  if name == 'local-only' then return block ~= '' and block or 'its reason is gone' end
  if string.sub(name, -5) == ' cool' then
    if string.find(block, '^%d+$') and #block < 17 then return block end
  elseif string.find(block, '^slow_start %d+ [1-9]%d*$') or string.find(block, '^open %d+$') or string.find(block, '^half_open %d+$') then
    return block
  end
  note_unreadable(BLOCKED .. ' ' .. name, 'is no block')
  local state = redis.call('HGET', BREAKER .. name, 'state')
  if state ~= 'open' and state ~= 'half_open' then
    redis.call('HDEL', BLOCKED, name)
    return nil
  end
  redis.call('HSET', BLOCKED, name, state .. ' 0')
  return state .. ' 0'
end

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
    if string.sub(member, -1) ~= 'i' then n = n + 1 end
  end
  capacity.not_interactive[name] = n
  return n
end

-- Note which of several keys a call uses.
local function note_key(capacity, backend, key)
  if #backend.keys < 2 then return end
  capacity.last_keys[backend.name] = key
  redis.call('HSET', LAST_KEYS, backend.name, key)
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

local function remove_block(capacity, block)
  redis.call('HDEL', BLOCKED, block)
  capacity.blocked[block] = nil
end

-- What blocks a target: 'open' or 'half_open' and until when, or 'slow_start' and the share of its slots that is back. One
-- that is over is deleted.
local function get_block(capacity, target)
  local block = capacity.blocked[target]
  if not block then return nil end
  local kind, first, second = string.match(block, '^(%S+) (%d+) ?(%d*)$')
  if kind ~= 'slow_start' then return kind, number(first, 0) end
  local share = (capacity.now - first) / second
  if share < 1 then return kind, share end
  remove_block(capacity, target)
  return nil
end

-- Until when a target cools down; nil when it does not.
local function cooling_until(capacity, target)
  local ends_at = tonumber(capacity.blocked[target .. ' cool'])
  if not ends_at or ends_at > capacity.now then return ends_at end
  remove_block(capacity, target .. ' cool')
  return nil
end

-- The slots that a breaker allows: 0 while it is open or half open, few while it ramps up.
local function allowed_slots(capacity, target, slots)
  local kind, share = get_block(capacity, target)
  if kind == 'open' or kind == 'half_open' then return 0 end
  return kind and math.max(1, math.floor(slots * share)) or slots
end

-- Until when a key of a backend ('': it has none) must wait after a 429 for a model; nil when it need not.
local function key_cooling_until(capacity, backend, model, key)
  if not capacity.any_blocked then return nil end
  return cooling_until(capacity, cooldown_target(backend.name, model, #backend.keys > 1 and key or ''))
end

-- The slots that a key of a backend may use for a model. 0, and when it may be used again, while it is at a limit.
local function key_slots(capacity, backend, model, key, call)
  if backend.rates[1] then
    local free_at = limited_until(capacity, backend, key, call.interactive, call.tokens)
    if free_at > capacity.now then return 0, free_at end
  end
  if not capacity.any_blocked then return backend.slots end
  if key_cooling_until(capacity, backend, model, key) then return 0 end
  return key == '' and backend.slots or allowed_slots(capacity, 'key:' .. key, backend.slots)
end

-- The number of the key that was used last at a backend; 0: none of these was.
local function last_key(capacity, name, keys)
  if not capacity.last_keys[name] then capacity.last_keys[name] = redis.call('HGET', LAST_KEYS, name) or '' end
  for i, key in ipairs(keys) do
    if key == capacity.last_keys[name] then return i end
  end
  return 0
end

-- The key for the next call of a model at a backend, and the slots that it may use. 0: no key may be used now; then also
-- when the first key that is at a limit may be used. Keys take turns: it is the first that may be used after the key of
-- the last call. `call`: interactive, tokens.
local function next_key(capacity, backend, model, call)
  local keys, name = backend.keys, backend.name
  if #keys < 2 then return keys[1] or '', key_slots(capacity, backend, model, keys[1] or '', call) end
  local last, soonest = last_key(capacity, name, keys), nil
  for i = 1, #keys do
    local key = keys[(last + i - 1) % #keys + 1]
    local slots, free_at = key_slots(capacity, backend, model, key, call)
    if slots > 0 then return key, slots end
    soonest = free_at and math.min(free_at, soonest or NEVER) or soonest
  end
  return '', 0, soonest
end

-- The key for a probe at a place: the next in turn that is not parked, if there is any. Or nil, and when the first key may
-- be used.
local function next_probe_key(capacity, place)
  local found, soonest, keys = nil, NEVER, place.keys
  local last = #keys > 1 and last_key(capacity, place.backend.name, keys) or 0
  for i = 1, math.max(1, #keys) do
    local key = keys[(last + i - 1) % math.max(1, #keys) + 1] or ''
    local cooling = key_cooling_until(capacity, place.backend, place.model, key)
    if not cooling and place.backend.rates[1] then
      local free_at = limited_until(capacity, place.backend, key, true, 0)
      cooling = free_at > capacity.now and free_at or nil
    end
    if cooling then
      soonest = math.min(soonest, cooling)
    elseif key == '' or allowed_slots(capacity, 'key:' .. key, 1) > 0 then
      return key, NEVER
    else
      found = found or key
    end
  end
  return found, soonest
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
