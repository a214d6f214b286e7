-- @include producer_turns
-- Jobs that nothing can serve: how they fall, how their hold and their release end, how their producer is notified.

-- End the release of a held job for a model: others wait until it is known how it went. `answered`: release more of
-- them.
local function end_release(id, model, answered)
  if not model or redis.call('ZREM', RELEASED .. model, id) == 0 then return end
  redis.call('HDEL', RECORD .. id, 'released')
  if answered then redis.call('HINCRBY', RELEASE_WINDOW, model, 1) else redis.call('HDEL', RELEASE_WINDOW, model) end
end

-- Remove from the released jobs of a model those that are not on their way any more, however that came about: they must keep
-- no other job waiting, and no incident open.
local MAX_RELEASES_CHECKED = 64
local function remove_lost_releases(model)
  for _, id in ipairs(redis.call('ZRANGE', RELEASED .. model, 0, MAX_RELEASES_CHECKED - 1)) do
    local job = fields(RECORD .. id, 'state', 'released')
    if job.released ~= model or job.state == 'done' then redis.call('ZREM', RELEASED .. model, id) end
  end
end

-- A job cannot be read: its record, its request, or what is kept with it.
local function note_unreadable_job(id, why)
  note_unreadable(RECORD .. id, why)
  count('unreadable_jobs')
end

-- Hand a job that nothing can serve to the degrade worker. `fell_from` is the queue to which it returns; a queue to
-- which it came only as its default fallback is not kept.
local function fall(id, reason, detail, now)
  local record = RECORD .. id
  local job = fields(record, 'queue', 'default_fallback', 'fell_from', 'released', 'lease')
  local queue = queue_of(id, {queue = job.queue, state = true})
  local from = (job.default_fallback or queue == DEGRADE) and job.fell_from or queue
  redis.call('HSET', record, 'fell_for', reason, 'fell_why', detail, 'fell_at', ms(now), 'fell_from', from,
    'fell_lease', job.lease or '')
  redis.call('HINCRBY', record, 'falls', 1)
  redis.call('HDEL', record, 'fell_over')
  end_release(id, job.released, false)
  count('fell_' .. reason)
  add_event(id, cjson.encode({event = 'fallen', at = now, reason = reason, detail = detail}))
  enqueue(id, DEGRADE, urgency_of(from) == 'interactive', now)
end

-- Count something that happened to a job of an incident. Its notifiers get an update some time.
local function incident_add(id, counter, n, now)
  local key = INCIDENT .. id
  local notify = redis.call('HGET', key, 'notify')
  if not notify then return end
  redis.call('HINCRBY', key, counter, n)
  redis.call('HINCRBY', key, 'version', 1)
  for notifier in string.gmatch(notify, '[^,]+') do
    redis.call('ZADD', OUTBOX, 'NX', now, 'notice:' .. notifier .. ':' .. id .. ':update')
  end
end

-- A job that fell has its answer after all: the models of its incident are back.
local function incident_answered(id, now)
  if redis.call('HGET', INCIDENT .. id, 'ended') == '' then
    redis.call('HSET', INCIDENT .. id, 'answered_at', ms(now))
  end
end

-- Take a held job out of everything that holds it. `counter` is what its incident counts: 'replayed', 'expired', or
-- nil.
local function unhold(id, now, counter)
  local job = fields(RECORD .. id, 'held_by', 'incident')
  redis.call('ZREM', RQ_DEFERRED .. DEGRADE, id)
  redis.call('ZREM', HELD_LATER, id)
  for model in string.gmatch(job.held_by or '', '[^,]+') do redis.call('ZREM', HELD .. model, id) end
  redis.call('HDEL', RECORD .. id, 'held_for', 'held_why', 'held_at', 'held_by', 'ready_at', 'late_by', 'late_at',
    'reply')
  if job.incident then
    incident_add(job.incident, 'held', -1, now)
    if counter then incident_add(job.incident, counter, 1, now) end
  end
end

-- Notify the producer of a job: an entry in its inbox, and one in the outbox for its webhook.
local function notify_producer(id, kind, result, now)
  local job = fields(RECORD .. id, 'inbox', 'reply_to', 'webhook', 'keep_unread_s')
  if job.inbox then
    local inbox, keep_s = INBOX .. job.inbox, tonumber(job.keep_unread_s) or DAY_MS / 1000
    redis.call('XADD', inbox, 'MINID', ms(math.max(0, now - keep_s * 1000)), '*', 'id', id, 'kind', kind, 'at', ms(now),
      'reply_to', job.reply_to or '', 'result', result)
    -- An inbox that gets no more entries ends with its last one, whether it is read or not.
    if redis.call('TTL', inbox) < keep_s then redis.call('EXPIRE', inbox, keep_s) end
    redis.call('ZREMRANGEBYSCORE', INBOXES, '-inf', ms(now))
    redis.call('ZADD', INBOXES, 'GT', ms(now + keep_s * 1000), job.inbox)
  end
  if job.webhook then  -- an event of its own, with all its tries, even while an earlier one is being posted
    local entry = 'job:' .. id .. ':' .. kind
    redis.call('DEL', OUTBOX_ENTRY .. entry)
    redis.call('ZADD', OUTBOX, now, entry)
  end
end
