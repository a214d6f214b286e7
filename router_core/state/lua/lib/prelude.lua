-- At the head of every script: time, queues, events. A script has `now` (ms) and `args`, see scripts.py.
-- ARGV[1]: milliseconds that replace the server's clock (tests only), or ''. ARGV[2]: the arguments of the script, a
-- JSON object; an argument that has no value is absent. ARGV[3] and later: bodies, which are stored as they are.
local function clock(ARGV)
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Decode JSON that stays the same over many calls (a worker's subscription, a policy) once. Do not change what it
-- returns.
local MAX_DECODED = 100
local decoded, decoded_count = {}, 0
local function decode_once(text)
  local value = decoded[text]
  if value then return value end
  if decoded_count >= MAX_DECODED then decoded, decoded_count = {}, 0 end
  value = cjson.decode(text)
  decoded[text], decoded_count = value, decoded_count + 1
  return value
end

-- The named fields of a hash, as a table by name; nil where there is none.
local function fields(key, ...)
  local values, row = redis.call('HMGET', key, ...), {}
  for i = 1, #values do row[select(i, ...)] = values[i] or nil end
  return row
end

-- rq's time format. Days to a civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
local function iso(ms)
  local floor = math.floor
  local s = floor(ms / 1000)
  local days = floor(s / 86400)
  local z = days + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local day = doy - floor((153 * mp + 2) / 5) + 1
  local r = s - days * 86400
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03d000Z', year, month, day,
    floor(r / 3600), floor(r / 60) % 60, r % 60, ms % 1000)
end

local function ms(n) return string.format('%.0f', n) end
local function urgency_of(queue) return string.match(queue, '[^.]*$') end
local function pool_of(queue) return string.match(queue, '^([^.]*)') end
local function model_of(queue) return string.match(queue, '^[^.]*%.([^.]*)') or '' end
local function count(counter) redis.call('HINCRBY', COUNTERS, counter, 1) end

-- Append an event to a job's list, and announce it to the subscribers of the job, with the length of the list: who has
-- read all before it needs not read the list. An empty announcement, and a long event, says only that there is something
-- to read. `event` is JSON.
local MAX_ANNOUNCED_BYTES = 65536
local function add_event(id, event)
  local length = redis.call('RPUSH', EVENTS .. id, event)
  redis.call('PUBLISH', JOB_CHANGED .. id, #event > MAX_ANNOUNCED_BYTES and '' or (length .. ' ' .. event))
end

local function schedule(id, queue, due)
  redis.call('HSET', RQ_JOB .. id, 'status', 'scheduled', 'origin', queue)
  redis.call('HSET', RECORD .. id, 'state', 'scheduled', 'queue', queue)
  redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. queue)
  redis.call('ZADD', RQ_SCHEDULED .. queue, math.floor(due / 1000), id)
end

-- Schedule a job for delivery after a delay, and write an event that says why.
local function deliver_later(id, queue, delay_ms, why, now)
  local due = now + delay_ms
  schedule(id, queue, due)
  redis.call('ZADD', SCHEDULED .. pool_of(queue), due, id)
  add_event(id, cjson.encode({event = 'scheduled', at = now, queue = queue, due = due, why = why}))
end
