-- Append pieces of an answer to a job's events, or events about its call. Fenced like a settle: a delivery that lost its
-- lease appends nothing.
-- Arguments: id, token, batch? (of pieces: its number in this delivery, from 1; a batch that was appended before is not
--   appended again)
-- Bodies: event (JSON)...
-- Reply: 1, or 0 when the delivery is not the current one
local id, batch = args.id, args.batch
local job = fields(RECORD .. id, 'state', 'lease', 'pieces')
if job.state ~= 'started' or job.lease ~= args.token then return 0 end
if batch then
  if batch <= (tonumber(job.pieces) or 0) then return 1 end
  redis.call('HSET', RECORD .. id, 'pieces', batch)
end
for i = 3, #ARGV do add_event(id, ARGV[i]) end
return 1
