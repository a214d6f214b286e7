-- Renew the presence of a door, and the leases of the jobs whose callers are connected to it. A job that has ended, or was
-- ended because its caller has left, gets no lease again.
-- Arguments: door, presence_ms, lease_ms, jobs, gone (doors whose processes have ended), answered (jobs whose callers have
--   their answers: no repeat joins them)
-- Reply: {door that is present...}
redis.call('ZADD', DOORS, now + args.presence_ms, args.door)
redis.call('ZREMRANGEBYSCORE', DOORS, '-inf', now - 60000)
for _, id in ipairs(args.jobs) do redis.call('ZADD', ATTENDED, 'XX', now + args.lease_ms, id) end
for _, id in ipairs(args.answered) do
  if redis.call('EXISTS', RECORD .. id) == 1 then redis.call('HSET', RECORD .. id, 'read', 1) end
end
for _, door in ipairs(args.gone) do redis.call('ZREM', DOORS, door) end
return redis.call('ZRANGEBYSCORE', DOORS, '(' .. ms(now), '+inf')
