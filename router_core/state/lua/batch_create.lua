-- Write down a batch, for a runner to claim. Idempotent.
-- Arguments: id, form, producer, directory, keep_ms (lists forget what is older)
-- Bodies: what never changes of it (JSON)
-- Reply: {1 if it is new, what never changes of it}
local key = BATCH .. args.id
local known = redis.call('HGET', key, 'batch')
if known then return {0, known} end
redis.call('HSET', key, 'batch', ARGV[3], 'status', 'validating')
for _, index in ipairs({BATCHES .. args.form .. ':' .. args.producer, BATCHES .. args.form .. ':'}) do
  redis.call('ZADD', index, now, args.id)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now - args.keep_ms)
end
redis.call('ZADD', OPEN_BATCHES .. args.directory, now, args.id)
return {1, ARGV[3]}
