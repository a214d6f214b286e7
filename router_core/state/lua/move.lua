-- @include fall_and_release
-- @include lifecycle
-- @include unmet_demand
-- Move a waiting job to where it was decided that it should wait: another queue, a later time, or the degrade queue.
-- The job must be as it was seen. A job that was claimed, moved or ended since is left alone, and so is one that rq's
-- own tools have cancelled or deleted: the sweep ends it. A suspect stays one, and is never put off. Idempotent.
-- Arguments: id, deliveries and seen_queue (as the caller read them), why, metrics? (see metrics.lua), verb, and by verb:
--   queue: queue, at_front
--   later: queue, delay_ms
--   fall:  reason, detail
--   also unmet? (models that the job leaves because their card does not hold them)
-- Reply: {'moved' | 'gone', state}
local id, queue, verb = args.id, args.seen_queue, args.verb
local record = RECORD .. id
local job = fields(record, 'state', 'deliveries', 'queue', 'released')
if job.state then job.queue = queue_of(id, job) end
local waits = (job.state == 'queued' or job.state == 'scheduled') and not removed_by_rq(id)
local suspect = redis.call('ZSCORE', SUSPECTS .. pool_of(queue), id)
local is_there = verb == 'later' and (suspect or job.state == 'scheduled' and args.queue == queue)
if not waits or is_there or (tonumber(job.deliveries) or 0) ~= args.deliveries or job.queue ~= queue then
  return {'gone', job.state or ''}
end
remove_waiting(id, job.state, queue, now)
redis.call('HSET', record, 'moved', 1)
count('moved')
if args.metrics then metrics.add(args.metrics, now) end
note_unmet(args.unmet, now)
if verb == 'queue' and suspect then
  schedule_suspect(id, args.queue, args.why, now)
elseif verb == 'queue' then
  enqueue_with_event(id, args.queue, args.at_front, args.why, now)
elseif verb == 'later' then
  deliver_later(id, args.queue, args.delay_ms, args.why, now)
elseif verb == 'fall' then
  if suspect then redis.call('HSET', record, 'suspect', 1) end  -- it runs alone also when it is released
  if args.reason == 'unreadable' then note_unreadable_job(id, args.detail) end
  fall(id, args.reason, args.detail, now)
end
if job.released and model_of(redis.call('HGET', record, 'queue')) ~= job.released then
  end_release(id, job.released, false)
end
return {'moved', redis.call('HGET', record, 'state')}
