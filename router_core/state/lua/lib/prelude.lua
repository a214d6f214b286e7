-- At the head of every script: time, queues, events. A script has `now` (ms) and `args`, see scripts.py.
-- ARGV[1]: milliseconds that replace the server's clock (tests only), or ''. ARGV[2]: the arguments of the script, a
-- JSON object; an argument that has no value is absent. ARGV[3] and later: bodies, which are stored as they are.
local function clock(ARGV)
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- What cannot be read is set aside, counted and named in UNREADABLE, and the script goes on as if it were absent: its owner
-- writes it again, or the audit does. So no script stops half-way because of a value that another program wrote.
local MAX_NOTES, SET_ASIDE_TTL_S = 100, 86400
local function failed(reply) return type(reply) == 'table' and reply.err end

local function printable(text) return (string.gsub(string.sub(text, 1, 160), '[^\32-\126]', '?')) end

local function note_unreadable(what, why)
  local time = redis.call('TIME')
  if failed(redis.pcall('HINCRBY', COUNTERS, 'unreadable', 1)) then redis.call('DEL', COUNTERS) end
  local note = cjson.encode({at = time[1] * 1000, what = printable(what), why = printable(why)})
  if failed(redis.pcall('LPUSH', UNREADABLE, note)) then redis.call('DEL', UNREADABLE) end
  redis.pcall('LTRIM', UNREADABLE, 0, MAX_NOTES - 1)
end

-- What operators switched on stands in SWITCHES a second time, so that damage to its key switches nothing off. What the key
-- lacks is written again.
local function restore_switches()
  local copy = redis.pcall('HGETALL', SWITCHES)
  for i = 1, failed(copy) and 0 or #copy, 2 do
    local queue = string.match(copy[i], '^paused (.+)$')
    local key, lacked = queue and PAUSED or BLOCKED, 0
    if queue and string.find(queue, '[^\33-\126]') then
      redis.pcall('HDEL', SWITCHES, copy[i])
      note_unreadable(SWITCHES, 'names no queue')
    elseif queue then
      lacked = redis.pcall('SADD', key, queue)
    elseif copy[i] == 'local-only' then
      lacked = redis.pcall('HSETNX', key, copy[i], copy[i + 1])
    end
    if lacked == 1 then note_unreadable(key, 'lacked "' .. copy[i] .. '" of an operator: it is in it again') end
  end
end

-- Rename a key of another type than `wanted`. rq's record of a job is written again at once: without it the job would count
-- as deleted with rq's tools. A gateway whose keys are gone must not count as one without keys: see client_keys.py.
local RQ_STATUS = {queued = 'queued', scheduled = 'scheduled', started = 'started', held = 'deferred'}
local function set_aside(key, wanted)
  local is = redis.call('TYPE', key).ok
  if is == 'none' or is == wanted then return end
  redis.call('RENAME', key, SET_ASIDE .. key)
  redis.call('EXPIRE', SET_ASIDE .. key, SET_ASIDE_TTL_S)
  note_unreadable(key, 'is a ' .. is .. ', not a ' .. wanted)
  if key == CLIENT_KEYS then redis.call('HSET', key, 'overwritten', 'cannot be read') end
  if key == PAUSED or key == BLOCKED then restore_switches() end
  local id = string.match(key, '^' .. RQ_JOB .. '(.*)$')
  if not id then return end
  local job = redis.pcall('HMGET', RECORD .. id, 'state', 'queue')
  if failed(job) or not RQ_STATUS[job[1]] then return end
  redis.call('HSET', key, 'status', RQ_STATUS[job[1]], 'origin', job[2] or '', 'data',
    '["openfall.deliver",null,["' .. id .. '"],{}]')
end

local SET_COMMANDS = {SADD = true, SREM = true, SMEMBERS = true, SRANDMEMBER = true, SISMEMBER = true, SCARD = true}
local TYPES = {H = 'hash', Z = 'zset', X = 'stream', L = 'list', R = 'list', B = 'list'}
local function wanted_type(command)
  return SET_COMMANDS[command] and 'set' or TYPES[string.sub(command, 1, 1)] or 'string'
end

-- Repeat a command that failed because of what its key holds, once that is set aside. Any other error is raised.
local function repeat_command(problem, ...)
  local command, key, field = ...
  if string.find(problem, '^WRONGTYPE') then
    set_aside(key, wanted_type(command))
    if command == 'LMOVE' then set_aside(field, 'list') end
  elseif command == 'HINCRBY' and (string.find(problem, 'not an integer') or string.find(problem, 'overflow')) then
    redis.call('HDEL', key, field)
    note_unreadable(key .. ' ' .. field, 'is no number')
  elseif command == 'XADD' and string.find(problem, 'XADD') then  -- its last id is beyond the clock
    redis.call('RENAME', key, SET_ASIDE .. key)
    redis.call('EXPIRE', SET_ASIDE .. key, SET_ASIDE_TTL_S)
    note_unreadable(key, 'takes no more entries')
  end
  return redis.call(...)
end

-- In the text of every script and library, `redis.call` is this (see scripts.py).
local function guarded_call(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  return repeat_command(reply.err, ...)
end

-- A number that Redis holds as text; `default` for any other text.
local MAX_NUMBER = 2 ^ 53
local function number(text, default)
  local n = tonumber(text)
  return n and n > -MAX_NUMBER and n < MAX_NUMBER and n or default
end

-- Decode JSON that stays the same over many calls (a worker's subscription, a policy) once. `prepare` may add to it what
-- is computed from it. Do not change what it returns.
local MAX_DECODED = 200
local decoded, decoded_count = {}, 0
local function keep_decoded(name, value)
  if decoded_count >= MAX_DECODED then decoded, decoded_count = {}, 0 end
  decoded[name], decoded_count = value, decoded_count + 1
  return value
end
local function decode_once(text, prepare)
  local value = decoded[text]
  if value then return value end
  value = cjson.decode(text)
  if prepare then prepare(value) end
  return keep_decoded(text, value)
end

-- The fields that are whole numbers, with the highest of each: counts, and moments (ms) up to the year 9999.
local MAX_COUNT, MAX_MOMENT, DAY_MS = 1e9, 253402300799000, 86400000
local NUMBERS = {
  consecutive_failures = MAX_COUNT, crashes = MAX_COUNT, crashes_alone = MAX_COUNT, deliveries = MAX_COUNT, epoch = MAX_COUNT, falls = MAX_COUNT,
  keep = MAX_COUNT, keep_unread_s = MAX_COUNT, open_count = MAX_COUNT, probe_successes = MAX_COUNT, strikes = MAX_COUNT,
  pieces = MAX_COUNT, tries = MAX_COUNT, version = MAX_COUNT,
  accepted = MAX_MOMENT, answered_at = MAX_MOMENT, away_since = MAX_MOMENT, began = MAX_MOMENT, deadline = MAX_MOMENT,
  fell_at = MAX_MOMENT, held_at = MAX_MOMENT, last = MAX_MOMENT, promised_until = MAX_MOMENT, ready_at = MAX_MOMENT,
  since = MAX_MOMENT, late_at = MAX_MOMENT,
}

-- What the text of a field must look like, beside those.
local function is_queue(text)
  return text == DEGRADE or (#text < 512 and string.find(text, '^[\33-\126]+$') and string.find(text, '^[^.]+%.[^.]+%..')) and true
end
local TEXTS = {queue = is_queue, fell_from = is_queue}

local function is_readable(name, value)
  local most = NUMBERS[name]
  if most then return not string.find(value, '%D') and (tonumber(value) or MAX_NUMBER) <= most end
  return TEXTS[name](value)
end

-- The named fields of a hash, as a table by name; nil where there is none. What cannot be read is removed.
local function fields(key, ...)
  local values, names, row = guarded_call('HMGET', key, ...), {...}, {}
  for i = 1, #names do
    local name, value = names[i], values[i]
    if value then
      if (NUMBERS[name] or TEXTS[name]) and not is_readable(name, value) then
        guarded_call('HDEL', key, name)
        note_unreadable(key .. ' ' .. name, 'cannot be read')
      else
        row[name] = value
      end
    end
  end
  return row
end

-- The queue of a job with these fields. One that could not be read is written again, as rq has it (or `known`).
local function queue_of(id, job, known)
  if job.queue then return job.queue end
  local queue = known or guarded_call('HGET', RQ_JOB .. id, 'origin')
  if not queue or not is_queue(queue) then queue = DEGRADE end
  if job.state then guarded_call('HSET', RECORD .. id, 'queue', queue) end
  return queue
end

-- How a tool of rq has removed a job: 'cancelled', 'deleted' or nil. A status that cannot be read is no removal.
local function removed_by_rq(id)
  local status = guarded_call('HGET', RQ_JOB .. id, 'status')
  if status == 'canceled' then return 'cancelled' end
  return not status and guarded_call('EXISTS', RQ_JOB .. id) == 0 and 'deleted' or nil
end

-- The date of a day since 1970, `2026-11-21`. After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
local dated_day, day_date
local function date_of(days)
  if days == dated_day then return day_date end
  local floor = math.floor
  local z = days + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local day = doy - floor((153 * mp + 2) / 5) + 1
  dated_day, day_date = days, string.format('%04d-%02d-%02d', year, month, day)
  return day_date
end

-- The date of a moment, and the moment in rq's format.
local function date(ms) return date_of(math.floor(ms / DAY_MS)) end
local iso
do
  local iso_second, iso_text
  function iso(ms)
    local second = math.floor(ms / 1000)
    if second ~= iso_second then
      local r = second % 86400
      iso_second = second
      iso_text = string.format('%sT%02d:%02d:%02d.', date(ms), math.floor(r / 3600), math.floor(r / 60) % 60, r % 60)
    end
    return iso_text .. string.format('%03d000Z', ms % 1000)
  end
end

-- A whole number as digits. `%d` takes 40 % less than `%.0f`.
local function ms(n)
  if n % 1 ~= 0 then n = math.floor(n + 0.5) end
  return string.format('%d', n)
end

-- The parts of the name of a queue. They stay from script to script: to match a pattern takes longer than all that a claim does
-- with a part.
local parts_of
do
  local MAX_QUEUES = 2000
  local parts_of_queue, parts_count = {}, 0
  function parts_of(queue)
    local parts = parts_of_queue[queue]
    if parts then return parts end
    if parts_count >= MAX_QUEUES then parts_of_queue, parts_count = {}, 0 end
    parts = {pool = string.match(queue, '^([^.]*)'), model = string.match(queue, '^[^.]*%.([^.]*)') or '',
      urgency = string.match(queue, '[^.]*$'), all_but_urgency = string.match(queue, '^(.*%.)'),
      is_interactive = string.sub(queue, -12) == '.interactive'}
    parts.model_and_urgency = parts.model .. ' ' .. parts.urgency
    parts_of_queue[queue], parts_count = parts, parts_count + 1
    return parts
  end
end
local function pool_of(queue) return parts_of(queue).pool end
local function model_of(queue) return parts_of(queue).model end
local function urgency_of(queue) return parts_of(queue).urgency end
local function count(counter) guarded_call('HINCRBY', COUNTERS, counter, 1) end

-- Append an event (JSON) to a job's list, and announce it to the subscribers of the job, with the length of the list: a
-- subscriber that has read all before it does not read the list. The announcement of a long event is empty: the
-- subscriber reads the list.
local MAX_ANNOUNCED_BYTES = 65536
local function add_event(id, event)
  local length = guarded_call('RPUSH', EVENTS .. id, event)
  guarded_call('PUBLISH', JOB_CHANGED .. id, #event > MAX_ANNOUNCED_BYTES and '' or (length .. ' ' .. event))
end

local function schedule(id, queue, due)
  guarded_call('HSET', RQ_JOB .. id, 'status', 'scheduled', 'origin', queue)
  guarded_call('HSET', RECORD .. id, 'state', 'scheduled', 'queue', queue)
  guarded_call('SADD', RQ_QUEUES, RQ_QUEUE .. queue)
  guarded_call('ZADD', RQ_SCHEDULED .. queue, math.floor(due / 1000), id)
end

-- Schedule a job for delivery after a delay, and write an event that says why.
local function deliver_later(id, queue, delay_ms, why, now)
  local due = now + delay_ms
  schedule(id, queue, due)
  guarded_call('ZADD', SCHEDULED .. pool_of(queue), due, id)
  add_event(id, cjson.encode({event = 'scheduled', at = now, queue = queue, due = due, why = why}))
end

-- A function of Lua, and so a script, may have 200 locals: those that only one function needs are in a block.
-- The paused queues, by name. A name that is no queue may stand in place of one.
local read_paused
do
  local URGENCIES = {interactive = true, background = true, batch = true, [DEGRADE] = true}
  function read_paused()
    local paused, is_damaged = {}, false
    for _, name in ipairs(guarded_call('SMEMBERS', PAUSED)) do
      paused[name] = true
      if not is_queue(name) or not URGENCIES[urgency_of(name)] then
        is_damaged = true
        if not string.find(name, '^[\33-\126]+$') then
          guarded_call('SREM', PAUSED, name)
          note_unreadable(PAUSED, 'names no queue')
        end
      end
    end
    if not is_damaged then return paused end
    restore_switches()
    for _, name in ipairs(guarded_call('SMEMBERS', PAUSED)) do paused[name] = true end
    return paused
  end
end
