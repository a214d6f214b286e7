-- Shared by all scripts. Time is the server's own; a number in ARGV[1] replaces it (tests only).
local function clock()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
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
local function count(what, n) redis.call('HINCRBY', COUNTERS, what, n or 1) end

-- What happened to a job: appended for whoever reads later, announced to whoever listens now. `told` is JSON.
local function tell(id, told)
  redis.call('RPUSH', EVENTS .. id, told)
  redis.call('PUBLISH', NEWS .. id, '')
end

-- One entry wakes one waiting worker; a few are enough for a burst, since a claim takes many jobs.
local function ring(queue)
  if redis.call('LLEN', BELL .. queue) < 4 then redis.call('RPUSH', BELL .. queue, '1') end
end

local function enqueue(id, queue, at_front, now)
  redis.call('HSET', RQ_JOB .. id, 'status', 'queued', 'origin', queue, 'enqueued_at', iso(now))
  redis.call('HSET', RECORD .. id, 'state', 'queued', 'queue', queue)
  redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. queue)
  local position
  if at_front then
    redis.call('LPUSH', RQ_QUEUE .. queue, id)
    position = 1
  else
    position = redis.call('RPUSH', RQ_QUEUE .. queue, id)
  end
  ring(queue)
  return position
end

local function schedule(id, queue, due)
  redis.call('HSET', RQ_JOB .. id, 'status', 'scheduled', 'origin', queue)
  redis.call('HSET', RECORD .. id, 'state', 'scheduled', 'queue', queue)
  redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. queue)
  redis.call('ZADD', RQ_SCHEDULED .. queue, math.floor(due / 1000), id)
end
