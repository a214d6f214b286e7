-- The acknowledgement of an entry of an inbox: its result was handled.

-- Delete an entry. The result of its job, kept longer for its reader, is now kept as any other. Returns 1 if it was there.
local function acknowledge(inbox, group, entry, id)
  redis.call('XACK', inbox, group, entry)
  local deleted = redis.call('XDEL', inbox, entry)
  local job = fields(RECORD .. id, 'state', 'keep', 'idem')
  if deleted == 1 and job.state == 'done' and not redis.call('ZSCORE', OUTBOX, 'job:' .. id .. ':done') then
    local keep_s = job.keep or DAY_MS / 1000
    for _, key in ipairs({RESULT, RECORD, EVENTS, PROMPT, RQ_JOB, RQ_RESULTS}) do
      redis.call('EXPIRE', key .. id, keep_s, 'LT')
    end
    if job.idem then redis.call('EXPIRE', IDEMPOTENCY .. job.idem, keep_s, 'LT') end
  end
  return deleted
end
