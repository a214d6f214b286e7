-- Append pieces of an answer to a job's events, or events about its call. Fenced like a settle: a delivery that lost its
-- lease appends nothing.
-- Arguments: id, token, batch? (of pieces: its number in this delivery, from 1; a batch that was appended before is not
--   appended again, and one after a gap, which a failover can leave, is not appended yet)
-- Bodies: event (JSON)...
-- Reply: the number of the last batch that was appended, or nil when the delivery is not the current one
local id, batch = args.id, args.batch
local job = fields(RECORD .. id, 'state', 'lease', 'pieces')
if job.state ~= 'started' or job.lease ~= args.token then return nil end
if batch then
  local known = tonumber(job.pieces) or 0
  if batch ~= known + 1 then return known end
  redis.call('HSET', RECORD .. id, 'pieces', batch)
end
for i = 3, #ARGV do add_event(id, ARGV[i]) end
return batch or 0
