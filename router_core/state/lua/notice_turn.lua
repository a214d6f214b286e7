-- May a notice be told now? New incidents are told at most so often, for each notifier; one that is over before its turn
-- comes is not told at all, and counted for the next.
-- ARGV: clock, entry, token, most, of how long (ms), tell recoveries (1 or 0), update every (ms)
-- Reply: {'go', now, unmentioned, incident...} | {'wait', ms} | {'drop'} when it was taken out of the outbox | {'late'}
local now, entry = clock(), ARGV[2]
local most, span = tonumber(ARGV[4]), tonumber(ARGV[5])
local key = POSTING .. entry
if redis.call('HGET', key, 'lease') ~= ARGV[3] then return {'late'} end
local notifier, id, kind = string.match(entry, '^notice:([^:]*):(.*):([^:]*)$')
local incident, about = INCIDENT .. id, 'notice:' .. notifier .. ':' .. id
local r = redis.call('HMGET', incident, 'ended', 'version', 'told:' .. notifier, 'told_version:' .. notifier,
  'updated:' .. notifier, 'began')
local ended, told = (r[1] or '') ~= '', r[3]

local function drop(...)
  for _, one in ipairs({entry, ...}) do
    redis.call('ZREM', OUTBOX, one)
    redis.call('DEL', POSTING .. one)
  end
  return {'drop'}
end

local function wait(span_ms)
  redis.call('ZADD', OUTBOX, now + span_ms, entry)
  return {'wait', ms(span_ms)}
end

local function go()
  local missed = redis.call('HGET', NOTICED, notifier .. ':unmentioned') or '0'
  local reply = {'go', ms(now), missed}
  for _, one in ipairs(redis.call('HGETALL', incident)) do reply[#reply + 1] = one end
  return reply
end

-- The turns of a notifier that still count, without the one that this entry has from a try before.
local function turns()
  local own, left = redis.call('HGET', key, 'turn'), {}
  for at in string.gmatch(redis.call('HGET', NOTICED, notifier) or '', '%S+') do
    if at == own then own = nil elseif tonumber(at) > now - span then left[#left + 1] = at end
  end
  return left
end

local function begin()
  if told then return drop() end
  local left = turns()
  local late = #left >= most
  if ended and (late or redis.call('HGET', key, 'early')) then
    redis.call('HINCRBY', NOTICED, notifier .. ':unmentioned', 1)
    return drop(about .. ':recovered')
  end
  if late then
    redis.call('HSET', key, 'early', 1)
    redis.call('HDEL', key, 'turn')
    redis.call('HSET', NOTICED, notifier, table.concat(left, ' '))
    return wait(math.max(1, tonumber(left[#left - most + 1]) + span - now))
  end
  local turn = ms(now)
  left[#left + 1] = turn
  redis.call('HSET', NOTICED, notifier, table.concat(left, ' '))
  redis.call('HSET', key, 'turn', turn)
  return go()
end

if not r[6] then return drop() end  -- the incident is forgotten
if kind == 'began' then return begin() end
if kind == 'update' then
  -- Before `began` is told there is nothing to change: it will tell how things are then.
  if ended or not told or tonumber(r[2] or '0') <= tonumber(r[4] or '0') then return drop() end
  local due = tonumber(r[5] or '0') + tonumber(ARGV[7])
  return due > now and wait(due - now) or go()
end
if ARGV[6] ~= '1' then return drop() end
if told then return go() end
local began = redis.call('ZSCORE', OUTBOX, about .. ':began')
return began and wait(math.min(math.max(began - now, 0) + 1000, 10000)) or drop()
