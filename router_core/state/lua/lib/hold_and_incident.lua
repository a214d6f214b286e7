-- @include fall_and_release
-- What the degrade worker settles: the record of a fall, its incident, and the hold.

-- The open incident of a reason, or a new one; and whether it is new.
local function open_incident(reason, notify, now)
  local incident = redis.call('HGET', INCIDENTS, reason)
  if incident and fields(INCIDENT .. incident, 'began').began then return incident, false end
  incident = reason .. '-' .. ms(now)
  redis.call('HSET', INCIDENTS, reason, incident)
  redis.call('HSET', INCIDENT .. incident, 'began', ms(now), 'ended', '', 'held', 0, 'notify', table.concat(notify, ','))
  for _, notifier in ipairs(notify) do
    redis.call('ZADD', OUTBOX, 'NX', now, 'notice:' .. notifier .. ':' .. incident .. ':began')
  end
  return incident, true
end

-- Write the record of a fall, and add it to the incident of its reason. `text` is JSON (see fall_record.py) with
-- `counts` (fields of the incident that grow by one) and `notify` (the notifiers of the incident).
local function log_fall(id, text, max_falls, now)
  redis.call('XADD', FALLS, 'MAXLEN', '~', max_falls, '*', 'fall', text)
  local record = cjson.decode(text)
  local incident = open_incident(record.reason, record.notify, now)
  redis.call('HSET', INCIDENT .. incident, 'last', ms(now))
  for _, counter in ipairs(record.counts) do redis.call('HINCRBY', INCIDENT .. incident, counter, 1) end
  incident_add(incident, 'falls', 1, now)
  redis.call('HSET', RECORD .. id, 'incident', incident)
  return incident
end

-- The order in which held jobs are released: the most urgent first, then the oldest.
local RANK = {interactive = 0, background = 1, batch = 2}
local function hold_order(queue, accepted) return (RANK[urgency_of(queue)] or 3) * 1e13 + (tonumber(accepted) or 0) end

-- Hold a job. `args`: reason, detail, remedy (nil: none), text, models (comma list: their return releases it), ready_at
-- (ms), late_models (comma list: their return releases it too, from late_at and ready_at on), late_at (ms), strikes,
-- keep_until (ms). `reply` is the interim result, or ''.
local function hold(id, args, reply, incident, now)
  local record = RECORD .. id
  local job = fields(record, 'fell_from', 'accepted', 'deadline', 'keep_unread_s', 'notified', 'has_deadline')
  local deadline, fell_from = job.deadline or ms(now), job.fell_from or DEGRADE
  local interactive = urgency_of(fell_from) == 'interactive'
  -- The caller set no deadline: an outage may last longer than was guessed.
  if not job.has_deadline and args.keep_until > tonumber(deadline) then
    deadline = ms(args.keep_until)
    redis.call('HSET', record, 'deadline', deadline)
  end
  -- Its caller learns that the answer comes later: it must find it until then.
  if args.text ~= '' or interactive then redis.call('HSET', record, 'promised_until', deadline) end
  redis.call('HSET', RQ_JOB .. id, 'status', 'deferred', 'origin', DEGRADE)
  redis.call('HSET', record, 'state', 'held', 'held_for', args.reason, 'held_why', args.detail, 'held_at', ms(now),
    'held_by', args.models, 'ready_at', ms(args.ready_at), 'strikes', args.strikes)
  if args.late_models ~= '' then
    redis.call('HSET', record, 'late_by', args.late_models, 'late_at', ms(args.late_at))
    redis.call('ZADD', HELD_LATER, math.max(args.late_at, args.ready_at), id)
  end
  if reply ~= '' then redis.call('HSET', record, 'reply', reply) end
  redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. DEGRADE)
  redis.call('ZADD', RQ_DEFERRED .. DEGRADE, math.floor(now / 1000), id)
  redis.call('ZADD', UNFINISHED, deadline, id)
  if args.models ~= '' and args.ready_at > now then
    redis.call('ZADD', HELD_LATER, args.ready_at, id)
  else
    for model in string.gmatch(args.models, '[^,]+') do
      redis.call('ZADD', HELD .. model, hold_order(fell_from, job.accepted), id)
    end
  end
  if incident then incident_add(incident, 'held', 1, now) end
  count('held_' .. args.reason)
  add_event(id, cjson.encode({event = 'degraded', at = now, reason = args.reason, detail = args.detail,
    by = args.remedy or cjson.null, text = args.text}))
  add_event(id, cjson.encode({event = 'held', at = now, reason = args.reason, detail = args.detail}))
  -- The producer is notified once, and only if it waits for the answer or gets a text to read.
  if job.keep_unread_s and not job.notified and (args.text ~= '' or interactive) then
    redis.call('HSET', record, 'notified', 1)
    notify_producer(id, 'degraded', reply, now)
  end
end
