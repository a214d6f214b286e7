-- @include fleet_silence
-- The unfinished jobs whose callers have left for good: no gateway renews their leases. Each is offered again after
-- `again_ms`, in case the worker that ends it dies before. It cannot be joined any more.
-- Arguments: limit, again_ms, longest_ms (no lease of a caller is longer), silence (see fleet_silence.lua)
-- Reply: {id...}
local left = {}
if end_silence(args.silence, now) then return left end
end_leases_within(CALLER_LEASES, now + args.longest_ms)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', CALLER_LEASES, '-inf', now, 'LIMIT', 0, args.limit)) do
  local state = redis.call('HGET', RECORD .. id, 'state')
  if not state or state == 'done' then
    redis.call('ZREM', CALLER_LEASES, id)
  else
    redis.call('HSET', RECORD .. id, 'left', 1)
    redis.call('ZADD', CALLER_LEASES, now + args.again_ms, id)
    left[#left + 1] = id
  end
end
return left
