-- Switch something on or off, in its key and in SWITCHES: what operators switch must outlive damage to one key.
-- Arguments: queue? (its pause; absent: the switch "local only"), on?, why? (of the switch)
-- Reply: 1 if that changed it
local key, field = args.queue and PAUSED or BLOCKED, args.queue and 'paused ' .. args.queue or 'local-only'
if args.on then
  redis.call('HSET', SWITCHES, field, args.why or '')
  if args.queue then return redis.call('SADD', key, args.queue) end
  return redis.call('HSET', key, field, args.why)
end
redis.call('HDEL', SWITCHES, field)
if args.queue then return redis.call('SREM', key, args.queue) end
return redis.call('HDEL', key, field)
