-- @include clock_set_back
-- Claim batches that have no runner, or whose runner has not renewed its lease.
-- Arguments: directory, runner, lease_ms, limit
-- Reply: {id, number of the claim, ...}
local open, claimed = OPEN_BATCHES .. args.directory, {}
end_leases_within(open, now + args.lease_ms)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', open, '-inf', now, 'LIMIT', 0, args.limit)) do
  if redis.call('HEXISTS', BATCH .. id, 'batch') == 1 then
    redis.call('ZADD', open, now + args.lease_ms, id)
    redis.call('HSET', BATCH .. id, 'runner', args.runner)
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = tostring(redis.call('HINCRBY', BATCH .. id, 'claim', 1))
  else
    redis.call('ZREM', open, id)
    note_unreadable(open, 'names no batch: ' .. id)
  end
end
return claimed
