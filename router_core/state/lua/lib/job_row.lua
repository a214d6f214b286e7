-- What a list shows of a job: the named fields of its record ('' for one that it has not), then rq's description, and the
-- head of its result, or of its request while it has none. No prompt: of a request only the line before its body.
-- `names` begins with 'state'.
local function job_row(id, names, head_bytes)
  local row = redis.call('HMGET', RECORD .. id, unpack(names))
  for field = 1, #names do row[field] = row[field] or '' end
  row[#row + 1] = redis.call('HGET', RQ_JOB .. id, 'description') or ''
  local ended = row[1] == 'done'
  local head = redis.call('GETRANGE', (ended and RESULT or PROMPT) .. id, 0, head_bytes - 1)
  row[#row + 1] = ended and head or string.match(head, '^[^\n]*')
  return row
end
