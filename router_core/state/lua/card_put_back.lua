-- @include fall_and_release
-- @include lifecycle
-- Put the jobs of calls back at the front of their queues, as if never delivered, so that a card can switch for an
-- interactive job. Their workers stop the calls. An answer that arrives all the same is taken until a job is claimed again.
-- Arguments: pool, worker, epoch, calls ({id, token, backend}...), why
-- Reply: {job id...}
local holder = fields(CARD_MANAGER .. args.pool, 'worker', 'epoch')
if holder.worker ~= args.worker or holder.epoch ~= tostring(args.epoch) then return {} end
local stopped = {}
for i = #args.calls, 1, -1 do  -- the last first: each goes to the front
  local id, token, backend = unpack(args.calls[i])
  local job = fields(RECORD .. id, 'state', 'lease', 'queue', 'worker', 'deadline', 'reserve')
  if job.state == 'started' and job.lease == token and job.queue then
    local keys_to_delete = {}
    end_lease(id, token, job.queue, backend, keys_to_delete, now, job.reserve, nil)
    redis.call('DEL', unpack(keys_to_delete))
    redis.call('HSET', RECORD .. id, 'put_back', 1, 'moved', 1)
    redis.call('HINCRBY', RECORD .. id, 'deliveries', -1)
    examine_if_overdue(id, job.deadline, now)
    add_event(id, cjson.encode({event = 'put_back', at = now, why = args.why}))
    enqueue_with_event(id, job.queue, true, args.why, now)
    redis.call('PUBLISH', RQ_PUBSUB .. (job.worker or ''), cjson.encode({command = 'abandon-job', job_id = id}))
    count('put_back_for_a_card')
    stopped[#stopped + 1] = id
  end
end
return stopped
