-- Probes that a claim hands out: of what is blocked, which may be asked a health prompt now.
local PROBES_AT_ONCE = 2

-- One probe in the whole fleet, held by a lease: a prober that dies gives it back by dying. Added to `probes`.
local function hand_out_probe(sight, due, token, probes)
  local target, now = due.target, sight.now
  local state = redis.call('HGET', BREAKER .. target, 'state')
  if state == 'open' then breaker_go(target, 'half_open', 'time to probe', {ramp = 0}, 0, now) end
  redis.call('HSET', BREAKER .. target, 'probe', token)
  sight.blocked[target] = 'probe ' .. ms(now + due.lasts)
  redis.call('HSET', BLOCKED, target, sight.blocked[target])
  probes[#probes + 1] = {target, due.backend, due.model, token}
end

-- The first place where a target may be asked now; a key has several. Nil, and when it is worth looking again.
-- `places`: ';target=index in ARGV of a queue of its model=backend' each; the lease of a probe (ms) is two behind that.
local function probe_of(sight, places, target)
  local head, from, soonest = ';' .. target .. '=', 1, NEVER
  while true do
    local at, stop = string.find(places, head, from, true)
    if not at then return nil, soonest end
    local i, backend = string.match(places, '^(%d+)=([^;]*)', stop + 1)
    local model = model_of(ARGV[tonumber(i)])
    local cool = cooling(sight, backend .. '/' .. model)
    if not cool then
      return {at = at, target = target, backend = backend, model = model, lasts = tonumber(ARGV[i + 2])}, NEVER
    end
    soonest, from = math.min(soonest, cool), stop
  end
end

-- The probes to hand out now, and when to look again. Every block is looked at rather than every queue: there are few of
-- them. A probe is a call: it waits as long as a 429 has asked everybody to. What is over is forgotten on the way, also of
-- what no catalog names any more.
local function due_probes(sight, places)
  local found, again = {}, NEVER
  local function look_again_at(at, target)
    if at < again and (not target or string.find(places, ';' .. target .. '=', 1, true)) then again = at end
  end
  for name in pairs(sight.blocked) do
    if string.sub(name, -5) == ' cool' then
      local target = string.sub(name, 1, -6)
      local ends = cooling(sight, target)
      if ends then look_again_at(ends, target) end
    elseif name ~= 'local-only' then
      local kind, ends = block_of(sight, name)
      local held = kind == 'open' or kind == 'probe'
      if held and ends > sight.now then
        look_again_at(ends, name)
      elseif held then
        local probe, soonest = probe_of(sight, places, name)
        found[#found + 1] = probe
        look_again_at(soonest)
      end
    end
  end
  table.sort(found, function(a, b) return a.at < b.at end)
  if #found > PROBES_AT_ONCE then look_again_at(sight.now) end
  return {unpack(found, 1, PROBES_AT_ONCE)}, again
end
