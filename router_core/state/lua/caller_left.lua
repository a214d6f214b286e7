-- A caller has left, or has not read its response: no caller waits for the job at this gateway any more. It may be joined by a
-- repeat. A job that ends without a caller ends after `linger_ms`.
-- Arguments: id, gateway, linger_ms
local job = fields(RECORD .. args.id, 'gateway', 'state')
if job.gateway == args.gateway then
  redis.call('HDEL', RECORD .. args.id, 'gateway', 'read')
  if job.state ~= 'done' then redis.call('ZADD', CALLER_LEASES, 'XX', now + args.linger_ms, args.id) end
end
return {tostring(now)}
