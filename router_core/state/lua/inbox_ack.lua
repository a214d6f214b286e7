-- Acknowledge an entry of an inbox: it is deleted. The result of its job, kept longer for its reader, is now kept as
-- any other.
-- Arguments: inbox, group, entry, id
-- Reply: {1: it was there, 0: it was not}
local inbox, id = INBOX .. args.inbox, args.id
redis.call('XACK', inbox, args.group, args.entry)
local deleted = redis.call('XDEL', inbox, args.entry)
local job = fields(RECORD .. id, 'state', 'keep', 'idem')
if deleted == 1 and job.state == 'done' and not redis.call('ZSCORE', OUTBOX, 'job:' .. id .. ':done') then
  local keep_s = job.keep or DAY_MS / 1000
  for _, key in ipairs({RESULT, RECORD, EVENTS, PROMPT, RQ_JOB, RQ_RESULTS}) do
    redis.call('EXPIRE', key .. id, keep_s, 'LT')
  end
  if job.idem then redis.call('EXPIRE', IDEMPOTENCY .. job.idem, keep_s, 'LT') end
end
return {deleted}
