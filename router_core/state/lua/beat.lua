-- A worker is alive, and so are its calls: renew what is still its own. Never resurrects a lease.
-- ARGV: clock, worker, presence (ms), lease (ms), rq ttl (s), jobs it answered and failed since it last beat,
--       then for each call: id, token, backend
-- Reply: {known to rq (1/0), now, lost job id...}
local now = clock()
local worker, lease = ARGV[2], tonumber(ARGV[4])
pulse(now)
redis.call('ZADD', PRESENCE, now + tonumber(ARGV[3]), worker)
local at, seconds = iso(now), string.format('%.3f', now / 1000)
local known = redis.call('EXISTS', RQ_WORKER .. worker)
if known == 1 then
  redis.call('HSET', RQ_WORKER .. worker, 'last_heartbeat', at)
  if ARGV[6] ~= '0' then redis.call('HINCRBY', RQ_WORKER .. worker, 'successful_job_count', ARGV[6]) end
  if ARGV[7] ~= '0' then redis.call('HINCRBY', RQ_WORKER .. worker, 'failed_job_count', ARGV[7]) end
  redis.call('EXPIRE', RQ_WORKER .. worker, ARGV[5])
end
local reply = {known, tostring(now)}
for i = 8, #ARGV, 3 do
  local id, token, key = ARGV[i], ARGV[i + 1], LEASES .. ARGV[i + 2]
  local member = id .. ':' .. token
  if redis.call('ZSCORE', key, member) then
    redis.call('ZADD', key, 'XX', now + lease, member)
    redis.call('HSET', RQ_JOB .. id, 'last_heartbeat', at)
    redis.call('HSET', RQ_EXECUTION .. member, 'last_heartbeat', seconds)
  else
    reply[#reply + 1] = id
  end
end
return reply
