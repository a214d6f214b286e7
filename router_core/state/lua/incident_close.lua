-- @include fall_and_release
-- Close the incident of a reason when it is over (incident_end.py has the conditions). The last fall was long enough ago, no
--   job waits in `degrade`, and
--   a job that fell was answered after the last fall (`ends_with_answer`); or
--   no job is held for it and no released job is on its way. Jobs that no model of the catalog releases do not count: a
--   person must release them.
-- An incident that is not `of_jobs` is over when it was not observed for `quiet_ms`.
-- Arguments: reason, quiet_ms, retention_s, notify_end, of_jobs, ends_with_answer, releases_itself, models (of the
--   catalog), other_models (that the catalog has named before)
-- Reply: its id, or '' when there is none or it goes on
local MAX_CHECKED = 1000
local id = redis.call('HGET', INCIDENTS, args.reason)
if not id then return '' end
local key = INCIDENT .. id
local incident = fields(key, 'held', 'last', 'began', 'notify', 'answered_at')
if not incident.began then  -- it was deleted by hand
  redis.call('HDEL', INCIDENTS, args.reason)
  return ''
end
local function holds_jobs(held)
  local ids = redis.call('ZRANGE', held, 0, MAX_CHECKED - 1)
  for _, job in ipairs(ids) do
    if redis.call('HGET', RECORD .. job, 'held_for') == args.reason then return true end
  end
  return #ids == MAX_CHECKED
end
local function will_be_released()
  if holds_jobs(HELD_LATER) then return true end
  for _, model in ipairs(args.models) do
    if holds_jobs(HELD .. model) then return true end
  end
  return false
end
local function is_on_its_way()
  for _, models in ipairs({args.models, args.other_models}) do
    for _, model in ipairs(models) do
      remove_lost_releases(model)
      if redis.call('ZCARD', RELEASED .. model) > 0 then return true end
    end
  end
  return false
end
local last = tonumber(incident.last or incident.began)
if last > now then  -- another program wrote it, or the clock was set back
  last = now
  redis.call('HSET', key, 'last', now)
end
if now - last < args.quiet_ms then return '' end
if args.of_jobs then
  if redis.call('LLEN', RQ_QUEUE .. DEGRADE) > 0 or redis.call('ZCARD', LEASES .. DEGRADE) > 0 then return '' end
  if not (args.ends_with_answer and (tonumber(incident.answered_at) or 0) > last) then
    if number(incident.held, 0) > 0 and (not args.releases_itself or will_be_released()) then return '' end
    if is_on_its_way() then return '' end
  end
end
redis.call('HSET', key, 'ended', ms(now))
redis.call('HINCRBY', key, 'version', 1)
redis.call('EXPIRE', key, args.retention_s)
redis.call('HDEL', INCIDENTS, args.reason)
if args.notify_end then
  for notifier in string.gmatch(incident.notify or '', '[^,]+') do
    local notice = 'notice:' .. notifier .. ':' .. id
    if redis.call('HEXISTS', key, 'notified:' .. notifier) == 1 or redis.call('ZSCORE', OUTBOX, notice .. ':began') then
      redis.call('ZADD', OUTBOX, 'NX', now, notice .. ':recovered')
    end
  end
end
return id
