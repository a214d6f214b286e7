-- @include breaker
-- @include capacity
-- Probes that a claim hands out: health prompts to blocked targets.
local MAX_PROBES = 2

-- Hand out the one probe of the whole fleet for a target. It is held by a lease: when its worker dies, the lease ends.
local function hand_out_probe(capacity, due, token, max_history, probes)
  local target, now = due.target, capacity.now
  if redis.call('HGET', BREAKER .. target, 'state') ~= 'half_open' then
    breaker_change(target, 'half_open', 'time to probe', {slow_start = 0, max_history = max_history}, 0, now)
  end
  redis.call('HSET', BREAKER .. target, 'probe', token)
  capacity.blocked[target] = 'half_open ' .. ms(now + due.lease_ms)
  redis.call('HSET', BLOCKED, target, capacity.blocked[target])
  if due.takes_turns then note_key(capacity, due.backend, due.key) end
  if due.backend.rates[1] then charge_limits(capacity, due.backend, due.key, true, 0) end
  probes[#probes + 1] = {target, due.backend.name, due.model, due.key, token}
end

-- The first place where a target can be probed now; a key has several. Or nil, and when the first of them is free.
local function find_place(capacity, target, places)
  local soonest = NEVER
  for _, place in ipairs(places or {}) do
    local key, cooling = next_probe_key(capacity, place)
    if key then
      return {order = place.order, target = target, backend = place.backend, model = place.model, key = key,
        takes_turns = #place.keys > 1, lease_ms = place.lease_ms}, NEVER
    end
    soonest = math.min(soonest, cooling)
  end
  return nil, soonest
end

-- The probes to hand out now, and when to check again. `places` maps a target to the places where this worker can probe
-- it. The loop runs over the blocks, not over the queues: there are few of them. A probe is a call: it waits for a
-- cooldown too. Blocks that are over are deleted on the way, also those of targets that no catalog names any more.
local function due_probes(capacity, places)
  local due, check_at = {}, NEVER
  local function check_no_later_than(at, target)
    if at < check_at and (not target or places[target]) then check_at = at end
  end
  for name in pairs(capacity.blocked) do
    if string.sub(name, -5) == ' cool' then
      local target = string.sub(name, 1, -6)
      local ends_at = cooling_until(capacity, target)
      if ends_at then check_no_later_than(ends_at, string.match(target, '^[^#]*')) end
    elseif name ~= 'local-only' then
      local kind, ends_at = get_block(capacity, name)
      local closed_to_calls = kind == 'open' or kind == 'half_open'
      if closed_to_calls and ends_at > capacity.now then
        check_no_later_than(ends_at, name)
      elseif closed_to_calls then
        local probe, soonest = find_place(capacity, name, places[name])
        due[#due + 1] = probe
        check_no_later_than(soonest)
      end
    end
  end
  table.sort(due, function(a, b) return a.order < b.order end)
  if #due > MAX_PROBES then check_no_later_than(capacity.now) end
  return {unpack(due, 1, MAX_PROBES)}, check_at
end
