-- @include breaker
-- @include blocks
-- @include rate_limits
-- Key rotation: with which of a backend's API keys the next call is made. Keys take turns; one that is parked, cools down or is
-- at a limit is passed over.

-- Note which of several keys a call uses.
local function note_key(capacity, backend, key)
  if #backend.keys < 2 then return end
  capacity.last_keys[backend.name] = key
  redis.call('HSET', LAST_KEYS, backend.name, key)
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
