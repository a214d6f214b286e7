-- @include notice_turns
-- @include metrics
-- Settle an outbox entry. A dispatcher that lost the entry to another one changes nothing.
-- Arguments: entry, token, verb, and by verb:
--   done                                              it is delivered, or there is nothing to deliver any more
--   notified: version, message?, update_interval_ms   a notice is delivered: what it showed, its id at the notifier
--   defer:    wait_ms                                 it was not tried
--   retry:    wait_ms, why                            a try failed
--   dead:     counter, max_dead_letters, dead_letter_ttl_s   the last try failed
-- Bodies: dead letter (JSON, verb dead)
-- Reply: 1, or 0 when the entry is not the caller's
local entry, verb = args.entry, args.verb
local key = OUTBOX_ENTRY .. entry
if redis.call('HGET', key, 'lease') ~= args.token then return 0 end
local notifier, id, kind = parse_notice(entry)

local function note_notified()
  local incident_key = INCIDENT .. id
  if redis.call('EXISTS', incident_key) == 0 then return end
  local stamp = ms(now)
  redis.call('HSET', incident_key, 'notified_version:' .. notifier, args.version, 'updated:' .. notifier, stamp)
  if kind == 'began' then redis.call('HSET', incident_key, 'notified:' .. notifier, stamp) end
  if args.message then redis.call('HSET', incident_key, 'message:' .. notifier, args.message) end
  local incident = fields(incident_key, 'version', 'ended')
  local notice = 'notice:' .. notifier .. ':' .. id
  if (incident.ended or '') == '' and (tonumber(incident.version) or 0) > args.version then  -- it went on meanwhile
    redis.call('ZADD', OUTBOX, 'NX', now + args.update_interval_ms, notice .. ':update')
  end
  if kind == 'began' then  -- its end can be sent now
    redis.call('ZADD', OUTBOX, 'XX', now, notice .. ':recovered')
    redis.call('HDEL', NOTICE_RATE, notifier .. ':unmentioned')
  end
end

-- Notices by their notifier, and webhooks together.
local function count_delivery(outcome)
  metrics.add_event('notification ' .. metrics.word(notifier or 'webhook') .. ' ' .. outcome, now)
end

if verb == 'defer' or verb == 'retry' then
  give_turn_back(key, notifier, now)
  if verb == 'retry' then
    redis.call('HINCRBY', key, 'tries', 1)
    redis.call('HSET', key, 'why', args.why)
    count_delivery('failed')
  end
  redis.call('ZADD', OUTBOX, now + args.wait_ms, entry)
  return 1
end
if verb == 'dead' then
  give_turn_back(key, notifier, now)
  redis.call('LPUSH', DEAD_LETTERS, ARGV[3])
  redis.call('LTRIM', DEAD_LETTERS, 0, args.max_dead_letters - 1)
  redis.call('EXPIRE', DEAD_LETTERS, args.dead_letter_ttl_s)
  count(args.counter)
  count_delivery('dead')
end
redis.call('ZREM', OUTBOX, entry)
redis.call('DEL', key)
if verb == 'notified' then note_notified() end
if verb == 'notified' or (verb == 'done' and not notifier) then count_delivery('delivered') end
return 1
