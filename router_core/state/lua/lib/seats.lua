-- Seats: at which backend a job of a queue may be called now. Slots are counted by live leases, over the whole fleet; what
-- breakers, cooldowns and reserved slots keep back is taken off.

-- What no call may be made to (see breaker.lua), and whether there is anything of the kind.
local function read_blocks()
  local blocked, troubled = {}, false
  local told = redis.call('HGETALL', BLOCKED)
  for i = 1, #told, 2 do blocked[told[i]], troubled = told[i + 1], true end
  return blocked, troubled
end

local function is_urgent(queue) return string.sub(queue, -12) == '.interactive' end

-- The end of a lease's token that says so: what has reserved slots is known by its lease.
local function mark_of(queue) return is_urgent(queue) and 'i' or '' end

-- Slots in use by jobs that no slot is reserved for. Asked only of a backend that has reserved ones.
local function leased_to_others(name)
  local others = 0
  for _, member in ipairs(redis.call('ZRANGE', LEASES .. name, 0, -1)) do
    if string.sub(member, -1) ~= 'i' then others = others + 1 end
  end
  return others
end

-- How things stand at one moment, for those below: `used` and `others` are counted once a backend.
local function look_at_seats(now)
  local blocked, troubled = read_blocks()
  return {now = now, blocked = blocked, troubled = troubled, used = {}, others = {}}
end

local function slots_used(sight, name)
  if not sight.used[name] then sight.used[name] = redis.call('ZCARD', LEASES .. name) end
  return sight.used[name]
end

local function slots_used_by_others(sight, name)
  if not sight.others[name] then sight.others[name] = leased_to_others(name) end
  return sight.others[name]
end

-- So many jobs of a queue were leased at a backend since it was counted.
local function seat_taken(sight, name, queue, n)
  sight.used[name] = sight.used[name] + n
  if sight.others[name] and not is_urgent(queue) then sight.others[name] = sight.others[name] + n end
end

local function forget(sight, block)
  redis.call('HDEL', BLOCKED, block)
  sight.blocked[block] = nil
end

-- What keeps calls from a target: 'open' or 'probe' and its end, or 'ramp' and the share of its slots that is back.
-- What is over is forgotten here: BLOCKED is empty when all is well.
local function block_of(sight, target)
  local told = sight.blocked[target]
  if not told then return nil end
  local kind = string.sub(told, 1, 4)
  if kind == 'open' then return kind, tonumber(string.sub(told, 6)) end
  if kind == 'prob' then return 'probe', tonumber(string.sub(told, 7)) end
  local since, length = string.match(told, '(%d+) (%d+)')
  local share = (sight.now - since) / length
  if share < 1 then return kind, share end
  forget(sight, target)
  return nil
end

-- Until when a target cools down; nil when it does not.
local function cooling(sight, target)
  local ends = tonumber(sight.blocked[target .. ' cool'])
  if not ends or ends > sight.now then return ends end
  forget(sight, target .. ' cool')
  return nil
end

-- How many calls at once a target may have: none while it is open or half open, few while it comes back.
local function cap(sight, target, slots)
  local kind, share = block_of(sight, target)
  if kind == 'open' or kind == 'probe' or cooling(sight, target) then return 0 end
  return kind and math.max(1, math.floor(slots * share)) or slots
end

local function seats_of(backends)
  local seats = {}
  for name, slots, key, reserved in string.gmatch(backends, '([^=,]+)=(%d+)=([^=,]*)=(%d+)') do
    seats[#seats + 1] = {name = name, slots = tonumber(slots), key = key, reserved = tonumber(reserved)}
  end
  return seats
end

-- The backend with the most free slots for a queue: its seat, the free slots, and whether slots are all that is missing.
-- Of those that come back after trouble the reserved ones come back first.
local function roomiest(sight, backends, queue)
  local best, room, full = nil, 0, false
  local model, urgent = model_of(queue), is_urgent(queue)
  for _, seat in ipairs(seats_of(backends)) do
    local most = seat.slots
    if sight.troubled then
      most = cap(sight, seat.name .. '/' .. model, most)
      if seat.key ~= '' and most > 0 then most = math.min(most, cap(sight, 'key:' .. seat.key, seat.slots)) end
    end
    local free = most - slots_used(sight, seat.name)
    if seat.reserved > 0 and not urgent then
      free = math.min(free, most - seat.reserved - slots_used_by_others(sight, seat.name))
    end
    if most > 0 and free < 1 then full = true end
    if free > room then best, room = seat, free end
  end
  return best, room, full
end
