-- The unfinished jobs whose callers have left for good: no door renews their leases. Each is offered again after
-- `again_ms`, in case the worker that ends it dies before. It cannot be joined any more.
-- Arguments: limit, again_ms
-- Reply: {id...}
local left = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', ATTENDED, '-inf', now, 'LIMIT', 0, args.limit)) do
  local state = redis.call('HGET', RECORD .. id, 'state')
  if not state or state == 'done' then
    redis.call('ZREM', ATTENDED, id)
  else
    redis.call('HSET', RECORD .. id, 'left', 1)
    redis.call('ZADD', ATTENDED, now + args.again_ms, id)
    left[#left + 1] = id
  end
end
return left
