-- Cancel a batch: its runner ends the lines that have no answer.
-- Arguments: id, from (the statuses that can be cancelled)
-- Reply: {its status before; '': there is no such batch}
local key = BATCH .. args.id
local status = redis.call('HGET', key, 'status')
for _, from in ipairs(args.from) do
  if status == from then redis.call('HSET', key, 'status', 'cancelling', 'cancelling_at', ms(now)) end
end
return {status or ''}
