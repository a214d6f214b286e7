-- @include fleet_silence
-- @include lost_writes
-- A worker is alive, and so are its calls: renew its presence and the leases that it still has. Never revives a lease.
-- Arguments: worker, pool, queues (a comma list), presence_ms, lease_ms, rq_ttl_s, answered and failed (jobs since its last
--   beat), silence (see fleet_silence.lua), deliveries ({id, token, backend}...), beats and beaten_at (the count of beats and
--   now (ms), as its last beat replied; absent in its first), lost_writes_ttl_s
-- Reply: {known to rq (1/0), now, count of beats, 1 if Redis has lost what it stored before its last beat, lost job id...}
local worker = RQ_WORKER .. args.worker
local beats, went_back = count_beat(args.worker, args.beats, args.beaten_at, args.lost_writes_ttl_s, now)
end_silence(args.silence, now)
redis.call('ZADD', PRESENCE, now + args.presence_ms, args.worker)
local at, seconds = iso(now), string.format('%.3f', now / 1000)
-- A registration that another program has changed is written again.
local queues = redis.call('HGET', worker, 'queues')
local known = queues == args.queues and redis.call('SISMEMBER', RQ_WORKERS, worker) or 0
if queues and queues ~= args.queues then note_unreadable(worker, 'names other queues than its worker serves') end
if known == 1 then
  redis.call('HSET', worker, 'last_heartbeat', at)
  if args.answered > 0 then redis.call('HINCRBY', worker, 'successful_job_count', args.answered) end
  if args.failed > 0 then redis.call('HINCRBY', worker, 'failed_job_count', args.failed) end
  redis.call('EXPIRE', worker, args.rq_ttl_s)
  -- rq forgets a worker a minute after its last beat. An operator looks for it later than that.
  local row = redis.call('HMGET', worker, 'hostname', 'pid', LOG_FIELD)
  redis.call('HSET', LAST_WORKERS, args.worker,
    cjson.encode({pool = args.pool, host = row[1] or '', pid = number(row[2], 0), log = row[3] or '', at = math.floor(now)}))
end
local reply = {known, tostring(now), beats, went_back and 1 or 0}
for _, delivery in ipairs(args.deliveries) do
  local id, token, backend = unpack(delivery)
  local key, member = LEASES .. backend, id .. ':' .. token
  if redis.call('ZSCORE', key, member) then
    redis.call('ZADD', key, 'XX', now + args.lease_ms, member)
    redis.call('HSET', RQ_JOB .. id, 'last_heartbeat', at)
    redis.call('HSET', RQ_EXECUTION .. member, 'last_heartbeat', seconds)
  else
    local job = fields(RECORD .. id, 'state', 'lease')
    if job.state == 'started' and job.lease == token then  -- it was not taken over: the set of leases was damaged
      redis.call('ZADD', key, now + args.lease_ms, member)
    else
      reply[#reply + 1] = id
    end
  end
end
return reply
