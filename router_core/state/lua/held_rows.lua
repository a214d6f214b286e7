-- Read what is known of held jobs. Changes nothing.
-- Arguments: ids, names (fields of a record)
-- Reply: {{the fields of the record..., rq's description}...}; a field that a job has not is ''
local reply = {}
for number, id in ipairs(args.ids) do
  local row = redis.call('HMGET', RECORD .. id, unpack(args.names))
  for field = 1, #args.names do row[field] = row[field] or '' end
  row[#row + 1] = redis.call('HGET', RQ_JOB .. id, 'description') or ''
  reply[number] = row
end
return reply
