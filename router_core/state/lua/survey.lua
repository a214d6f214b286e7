-- What is so at this moment, for whoever chooses: of each model its queues, slots, breakers, pace; of the fleet its switch.
-- ARGV: clock, slots of a window, ms of each, then for each model:
--   alias, backends ('name=slots=key=reserved,...'), number of queues, queue...
-- Reply: {now, why only local ('' : not), {loaded: backend, JSON...}, {health: target, JSON...},
--   {queue served by a live worker, of a model that was not asked about...}, {model...}}
--   model: {alias, {{queue, jobs waiting, accepted (ms) of the first ('' : none), paused, served by a live worker}...},
--     {{backend, free slots, those that are not kept for interactive jobs, block of the model, of its cooldown, of its key, why open, calls, failed, repeated, ms}...}}
local now = clock()
local slot, slots_of_window = math.floor(now / tonumber(ARGV[3])), tonumber(ARGV[2])
local blocked = read_blocks()
local paused = {}
for _, name in ipairs(redis.call('SMEMBERS', PAUSED)) do paused[name] = true end
local served = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', PRESENCE, '(' .. now, '+inf')) do
  for queue in string.gmatch(redis.call('HGET', RQ_WORKER .. worker, 'queues') or '', '[^,]+') do served[queue] = true end
end

local function pace(target)
  local sums = {n = 0, f = 0, s = 0, r = 0, ms = 0}
  local slots = redis.call('HGETALL', WINDOW .. target)
  for i = 1, #slots, 2 do
    local at, what = string.match(slots[i], '^(%d+):(%a+)$')
    at = tonumber(at)
    if at > slot - slots_of_window and at <= slot then sums[what] = sums[what] + slots[i + 1] end
  end
  return sums
end

-- The free slots of a backend, and how many of them a job may have that none is reserved for.
local function free_at(name, slots, reserved)
  local free = slots - redis.call('ZCARD', LEASES .. name)
  if reserved == 0 then return free, free end
  return free, math.min(free, slots - reserved - leased_to_others(name))
end

local function at_backend(alias, name, slots, key, reserved)
  local target = name .. '/' .. alias
  local sums = pace(target)
  local why = ''
  if key ~= '' and blocked['key:' .. key] then why = redis.call('HGET', BREAKER .. 'key:' .. key, 'why') or '' end
  if string.find(blocked[target] or '', '^[op]') then why = redis.call('HGET', BREAKER .. target, 'why') or '' end
  local free, spare = free_at(name, tonumber(slots), tonumber(reserved))
  return {name, free, spare, blocked[target] or '', blocked[target .. ' cool'] or '',
    key ~= '' and blocked['key:' .. key] or '', why, sums.n, sums.f, sums.r, sums.ms}
end

local known, models, i = {}, {}, 4
while i < #ARGV do
  local alias, backends, queues = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local lines = {}
  for q = i + 3, i + 2 + queues do
    local queue = ARGV[q]
    known[queue] = true
    local length = redis.call('LLEN', RQ_QUEUE .. queue)
    local first = ''
    if length > 0 then
      first = redis.call('HGET', RECORD .. redis.call('LINDEX', RQ_QUEUE .. queue, 0), 'accepted') or ''
    end
    lines[#lines + 1] = {queue, length, first, paused[queue] and 1 or 0, served[queue] and 1 or 0}
  end
  local at = {}
  for name, slots, key, reserved in string.gmatch(backends, '([^=,]+)=(%d+)=([^=,]*)=(%d+)') do
    at[#at + 1] = at_backend(alias, name, slots, key, reserved)
  end
  models[#models + 1] = {alias, lines, at}
  i = i + 3 + queues
end

local elsewhere = {}
for queue in pairs(served) do
  if not known[queue] then elsewhere[#elsewhere + 1] = queue end
end
return {tostring(now), blocked['local-only'] or '', redis.call('HGETALL', LOADED), redis.call('HGETALL', HEALTH), elsewhere,
  models}
