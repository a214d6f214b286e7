-- Capacity: the backends at which a job may be called now. Slots are counted by live leases, over the whole fleet.
-- Breakers, cooldowns and reserved slots reduce them.

local function is_interactive(queue) return string.sub(queue, -12) == '.interactive' end

-- The end of the token of an interactive job's lease. It tells which leases may use reserved slots.
local function token_suffix(queue) return is_interactive(queue) and 'i' or '' end

-- The state of one moment, for the functions below: the entries of BLOCKED (see breaker.lua), and the slots in use,
-- counted once for each backend.
local function load_capacity(now)
  local blocked, entries = {}, redis.call('HGETALL', BLOCKED)
  for i = 1, #entries, 2 do blocked[entries[i]] = entries[i + 1] end
  return {now = now, blocked = blocked, any_blocked = #entries > 0, used = {}, not_interactive = {}}
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

-- Note that `n` jobs of a queue were leased at a backend.
local function note_leased(capacity, name, queue, n)
  capacity.used[name] = capacity.used[name] + n
  if capacity.not_interactive[name] and not is_interactive(queue) then
    capacity.not_interactive[name] = capacity.not_interactive[name] + n
  end
end

local function remove_block(capacity, block)
  redis.call('HDEL', BLOCKED, block)
  capacity.blocked[block] = nil
end

-- What blocks a target: 'open' or 'half_open' and until when, or 'ramp' and the share of its slots that is back. A ramp
-- that is over is deleted.
local function get_block(capacity, target)
  local block = capacity.blocked[target]
  if not block then return nil end
  local kind, first, second = string.match(block, '^(%S+) (%d+) ?(%d*)$')
  if kind ~= 'ramp' then return kind, tonumber(first) end
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

-- The slots that a target may use: 0 while it is open, half open or cooling down, few while it ramps up.
local function allowed_slots(capacity, target, slots)
  local kind, share = get_block(capacity, target)
  if kind == 'open' or kind == 'half_open' or cooling_until(capacity, target) then return 0 end
  return kind and math.max(1, math.floor(slots * share)) or slots
end

-- The backend with the most free slots for a queue, how many, and whether only slots are missing. While a backend ramps
-- up, its reserved slots come back first.
local function least_loaded(capacity, backends, queue)
  local best, room, full = nil, 0, false
  local model, interactive = model_of(queue), is_interactive(queue)
  for _, backend in ipairs(backends) do
    local allowed = backend.slots
    if capacity.any_blocked then
      allowed = allowed_slots(capacity, backend.name .. '/' .. model, allowed)
      if backend.key ~= '' and allowed > 0 then
        allowed = math.min(allowed, allowed_slots(capacity, 'key:' .. backend.key, backend.slots))
      end
    end
    local free = allowed - slots_used(capacity, backend.name)
    if backend.reserved > 0 and not interactive then
      free = math.min(free, allowed - backend.reserved - slots_used_not_interactive(capacity, backend.name))
    end
    if allowed > 0 and free < 1 then full = true end
    if free > room then best, room = backend, free end
  end
  return best, room, full
end
