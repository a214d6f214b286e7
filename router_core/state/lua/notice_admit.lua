-- @include notice_turns
-- Decide whether a notice may be sent now. Each notifier gets at most `max_notices` new incidents in
-- `interval_seconds`. An incident that is over before its turn comes is not sent at all, and counted for the next one.
-- Arguments: entry, token, max_notices, interval_seconds, notify_recovery, update_interval_seconds
-- Reply: {'go', now, unmentioned, incident...} | {'wait', ms} | {'drop'} when it was taken out of the outbox | {'late'}
local MAX_RECOVERY_WAIT_MS = 10000
local entry, max_notices, interval_ms = args.entry, args.max_notices, args.interval_seconds * 1000
local key = OUTBOX_ENTRY .. entry
if redis.call('HGET', key, 'lease') ~= args.token then return {'late'} end
local notifier, id, kind = parse_notice(entry)
local incident_key, notice = INCIDENT .. id, 'notice:' .. notifier .. ':' .. id
local values = redis.call('HMGET', incident_key, 'ended', 'version', 'notified:' .. notifier,
  'notified_version:' .. notifier, 'updated:' .. notifier, 'began')
local ended, version, notified = (values[1] or '') ~= '', number(values[2], 0), values[3]
local notified_version, updated, began = number(values[4], 0), number(values[5], 0), number(values[6])

local function drop(...)
  for _, dropped in ipairs({entry, ...}) do
    redis.call('ZREM', OUTBOX, dropped)
    redis.call('DEL', OUTBOX_ENTRY .. dropped)
  end
  return {'drop'}
end

local function wait(wait_ms)
  redis.call('ZADD', OUTBOX, now + wait_ms, entry)
  return {'wait', ms(wait_ms)}
end

local function go()
  local unmentioned = ms(number(redis.call('HGET', NOTICE_RATE, notifier .. ':unmentioned'), 0))
  return {'go', ms(now), unmentioned, unpack(redis.call('HGETALL', incident_key))}
end

local function admit_new()
  if notified then return drop() end
  local turns = other_turns(notifier, redis.call('HGET', key, 'turn'), now - interval_ms, now)
  local is_full = #turns >= max_notices
  if ended and (is_full or redis.call('HGET', key, 'early')) then
    redis.call('HINCRBY', NOTICE_RATE, notifier .. ':unmentioned', 1)
    return drop(notice .. ':recovered')
  end
  if is_full then
    redis.call('HSET', key, 'early', 1)
    redis.call('HDEL', key, 'turn')
    write_turns(notifier, turns)
    return wait(math.max(1, tonumber(turns[#turns - max_notices + 1]) + interval_ms - now))
  end
  local turn = ms(now)
  turns[#turns + 1] = turn
  write_turns(notifier, turns)
  redis.call('HSET', key, 'turn', turn)
  return go()
end

if not began then return drop() end  -- the incident is forgotten
if kind == 'began' then return admit_new() end
if kind == 'update' then
  -- Before `began` is sent there is nothing to change: it will show the incident as it is then.
  if ended or not notified or version <= notified_version then return drop() end
  local due = updated + args.update_interval_seconds * 1000
  return due > now and wait(due - now) or go()
end
if not args.notify_recovery then return drop() end
if notified then return go() end
local due = redis.call('ZSCORE', OUTBOX, notice .. ':began')
return due and wait(math.min(math.max(due - now, 0) + 1000, MAX_RECOVERY_WAIT_MS)) or drop()
