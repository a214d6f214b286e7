-- Blocks: what keeps calls from a target (a model at a backend, or a key), as a claim sees it. BLOCKED has the entries that
-- breaker.lua writes.

local KINDS = {open = true, half_open = true, slow_start = true}

-- Whether a newer version may have written a block: its name is a switch of the fleet, or ends with a word as ' cool' does, or
-- its kind is another word. The block has the form of all others.
local function is_of_newer_version(name, block)
  if string.find(name, '^%l[%l_-]*$') then return true end
  local kind = string.match(block, '^(%l[%l_]*) %d[%d ]*$')
  if string.find(name, ' %l+$') then return string.sub(name, -5) ~= ' cool' and (kind or string.find(block, '^%d+$')) end
  return kind and not KINDS[kind]
end

-- A block, as it is. One of a newer version stays, and keeps no call of this one away. One that cannot be read is removed. In
-- both cases a breaker that is not closed still keeps calls away, and is probed at once.
local function readable_block(name, block)
  if name == 'local-only' then return block ~= '' and block or 'its reason is gone' end
  if string.sub(name, -5) == ' cool' then
    if string.find(block, '^%d+$') and #block < 17 then return block end
  elseif string.find(block, '^slow_start %d+ [1-9]%d*$') or string.find(block, '^open %d+$') or string.find(block, '^half_open %d+$') then
    return block
  end
  local state = redis.call('HGET', BREAKER .. name, 'state')
  local of_breaker = (state == 'open' or state == 'half_open') and state .. ' 0' or nil
  if is_of_newer_version(name, block) then return of_breaker end
  note_unreadable(BLOCKED .. ' ' .. name, 'is no block')
  if of_breaker then
    redis.call('HSET', BLOCKED, name, of_breaker)
  else
    redis.call('HDEL', BLOCKED, name)
  end
  return of_breaker
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
