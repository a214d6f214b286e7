-- Acknowledge an entry of an inbox: it is gone. The end of its job, kept longer for its reader, is kept as any other's.
-- ARGV: clock, inbox, entry, job id
-- Reply: {1: it was there, 0: it was not}
local inbox, entry, id = INBOX .. ARGV[2], ARGV[3], ARGV[4]
redis.call('XACK', inbox, 'readers', entry)
local there = redis.call('XDEL', inbox, entry)
local r = redis.call('HMGET', RECORD .. id, 'state', 'keep', 'idem')
if there == 1 and r[1] == 'done' and not redis.call('ZSCORE', OUTBOX, 'job:' .. id .. ':done') then
  for _, key in ipairs({RESULT, RECORD, EVENTS, PROMPT, RQ_JOB, RQ_RESULTS}) do
    redis.call('EXPIRE', key .. id, r[2], 'LT')
  end
  if r[3] then redis.call('EXPIRE', IDEMPOTENCY .. r[3], r[2], 'LT') end
end
return {there}
