-- Renew the presence of a gateway, and the leases of the jobs whose callers are connected to it. A job that has ended, or was
-- ended because its caller has left, gets no lease again. A job whose caller has its response is joined by no repeat.
-- Arguments: gateway, catalog (the digest of its catalog), presence_ms, lease_ms, jobs, answered (jobs)
redis.call('ZADD', GATEWAYS, now + args.presence_ms, args.gateway)
redis.call('SET', GATEWAY_CATALOG .. args.gateway, args.catalog, 'PX', args.presence_ms)
redis.call('ZREMRANGEBYSCORE', GATEWAYS, '-inf', now - 60000)
for _, id in ipairs(args.jobs) do redis.call('ZADD', CALLER_LEASES, 'XX', now + args.lease_ms, id) end
for _, id in ipairs(args.answered) do
  if redis.call('HGET', RECORD .. id, 'gateway') == args.gateway then redis.call('HSET', RECORD .. id, 'read', 1) end
end
return {tostring(now)}
