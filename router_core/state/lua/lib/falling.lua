-- Jobs that nothing can serve, as every script that meets one needs it: how they fall, are no longer held, are released.

-- A job may have come to its queue by a release of what was held for its model: then others wait for how it goes.
local function unrelease(id, model, answered)
  if not model or redis.call('ZREM', RELEASED .. model, id) == 0 then return end
  redis.call('HDEL', RECORD .. id, 'released')
  if answered then redis.call('HINCRBY', RELEASE, model, 1) else redis.call('HDEL', RELEASE, model) end
end

-- Nothing can serve a job: the degrade worker takes it from here. Where it came from is kept for its way back; that of a
-- stand-in is not.
local function fall(id, reason, detail, now)
  local record = RECORD .. id
  local r = redis.call('HMGET', record, 'queue', 'stand_in', 'fell_from', 'released', 'lease')
  local from = (r[2] or r[1] == DEGRADE) and r[3] or r[1]
  redis.call('HSET', record, 'fell_for', reason, 'fell_why', detail, 'fell_at', ms(now), 'fell_from', from,
    'fell_lease', r[5] or '')
  redis.call('HINCRBY', record, 'falls', 1)
  unrelease(id, r[4], false)
  count('fell_' .. reason)
  tell(id, cjson.encode({event = 'fallen', at = now, reason = reason, detail = detail}))
  enqueue(id, DEGRADE, urgency_of(from) == 'interactive', now)
end

-- What happened to a job of an incident; whoever was told of the incident hears of it, some time.
local function incident_add(id, what, n, now)
  local key = INCIDENT .. id
  local notify = redis.call('HGET', key, 'notify')
  if not notify then return end
  redis.call('HINCRBY', key, what, n)
  redis.call('HINCRBY', key, 'version', 1)
  for notifier in string.gmatch(notify, '[^,]+') do
    redis.call('ZADD', OUTBOX, 'NX', now, 'notice:' .. notifier .. ':' .. id .. ':update')
  end
end

-- Take a held job out of everything that holds it. `what` became of it: 'replayed', 'expired', or nil: nothing that its
-- incident counts.
local function unhold(id, now, what)
  local r = redis.call('HMGET', RECORD .. id, 'held_by', 'incident')
  redis.call('ZREM', RQ_DEFERRED .. DEGRADE, id)
  redis.call('ZREM', HELD_LATER, id)
  for model in string.gmatch(r[1] or '', '[^,]+') do redis.call('ZREM', HELD .. model, id) end
  redis.call('HDEL', RECORD .. id, 'held_for', 'held_why', 'held_at', 'held_by', 'ready_at', 'reply')
  if r[2] then
    incident_add(r[2], 'held', -1, now)
    if what then incident_add(r[2], what, 1, now) end
  end
end

-- What has come of a job, for a producer that reads it later: into its inbox, and to whoever posts it to its webhook.
local function mail(id, kind, result, now)
  local r = redis.call('HMGET', RECORD .. id, 'inbox', 'reply_to', 'webhook', 'mail')
  if r[1] then
    redis.call('XADD', INBOX .. r[1], 'MINID', '~', ms(math.max(0, now - r[4] * 1000)), '*', 'id', id, 'kind', kind, 'at',
      ms(now), 'reply_to', r[2] or '', 'result', result)
  end
  if r[3] then  -- whoever posts what was before has no say in this: it is an event of its own, with all its tries
    local entry = 'job:' .. id .. ':' .. kind
    redis.call('DEL', POSTING .. entry)
    redis.call('ZADD', OUTBOX, now, entry)
  end
end
