-- What the degrade worker settles: the record of a fall, its incident, and the hold.

-- One record a fall, and the incident that it belongs to: the one of its reason that goes on, else a new one.
-- `fall`: JSON (see falls.py), with `counts` (fields of the incident that grow by one) and `notify` (who is to be told).
local FALLS_KEPT = 10000
local function log_fall(id, fall, now)
  redis.call('XADD', FALLS, 'MAXLEN', '~', FALLS_KEPT, '*', 'fall', fall)
  local told = cjson.decode(fall)
  local incident = redis.call('HGET', INCIDENTS, told.reason)
  if not incident then
    incident = told.reason .. '-' .. ms(now)
    redis.call('HSET', INCIDENTS, told.reason, incident)
    redis.call('HSET', INCIDENT .. incident, 'reason', told.reason, 'began', ms(now), 'ended', '', 'held', 0,
      'notify', table.concat(told.notify, ','))
    for _, notifier in ipairs(told.notify) do
      redis.call('ZADD', OUTBOX, 'NX', now, 'notice:' .. notifier .. ':' .. incident .. ':began')
    end
  end
  redis.call('HSET', INCIDENT .. incident, 'last', ms(now))
  for _, field in ipairs(told.counts) do redis.call('HINCRBY', INCIDENT .. incident, field, 1) end
  incident_add(incident, 'falls', 1, now)
  redis.call('HSET', RECORD .. id, 'incident', incident)
  return incident
end

-- The order in which held jobs are released: the most urgent first, then the oldest.
local RANK = {interactive = 0, background = 1, batch = 2}
local function hold_order(queue, accepted) return (RANK[urgency_of(queue)] or 3) * 1e13 + tonumber(accepted) end

-- Park a job. `h`: reason, detail, by ('' : nothing), text, models (comma list: whose return releases it), ready_at (ms),
-- strikes, reply (the interim result), keep_until (ms).
local function hold(id, h, incident, now)
  local record = RECORD .. id
  local r = redis.call('HMGET', record, 'fell_from', 'accepted', 'deadline', 'mail', 'told', 'firm')
  local waited_for = urgency_of(r[1]) == 'interactive'
  -- Nobody has said for how long he wants an answer, and somebody will read it: an outage may last longer than was guessed.
  if not r[6] and (r[4] or not waited_for) and h.keep_until > tonumber(r[3]) then
    r[3] = ms(h.keep_until)
    redis.call('HSET', record, 'deadline', r[3])
  end
  redis.call('HSET', RQ_JOB .. id, 'status', 'deferred', 'origin', DEGRADE)
  redis.call('HSET', record, 'state', 'held', 'held_for', h.reason, 'held_why', h.detail, 'held_at', ms(now), 'held_by',
    h.models, 'ready_at', h.ready_at, 'strikes', h.strikes)
  if h.reply ~= '' then redis.call('HSET', record, 'reply', h.reply) end
  redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. DEGRADE)
  redis.call('ZADD', RQ_DEFERRED .. DEGRADE, math.floor(now / 1000), id)
  redis.call('ZADD', OPEN, r[3], id)
  if h.models ~= '' and tonumber(h.ready_at) > now then redis.call('ZADD', HELD_LATER, h.ready_at, id)
  else
    for model in string.gmatch(h.models, '[^,]+') do
      redis.call('ZADD', HELD .. model, hold_order(r[1], r[2]), id)
    end
  end
  if incident then incident_add(incident, 'held', 1, now) end
  count('held_' .. h.reason)
  tell(id, cjson.encode({event = 'degraded', at = now, reason = h.reason, detail = h.detail,
    by = h.by ~= '' and h.by or cjson.null, text = h.text}))
  tell(id, cjson.encode({event = 'held', at = now, reason = h.reason, detail = h.detail}))
  -- Its owner hears of it once, and only who waits for an answer, or gets something to read.
  if r[4] and not r[5] and (h.text ~= '' or waited_for) then
    redis.call('HSET', record, 'told', 1)
    mail(id, 'degraded', h.reply, now)
  end
end
