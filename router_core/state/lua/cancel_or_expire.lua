-- @include lifecycle
-- @include finish_job
-- @include ledger
-- End a job from outside a delivery: it was cancelled, or it expired where it waited. Its worker gets a command to
-- stop the call.
-- Arguments: id, deliveries? (as the caller saw them; absent: any), status, rq_status, rq_error?,
--   substitution? (see ledger.lua), job_counts? (see metrics.lua)
-- Bodies: result
-- Reply: {'finished' | 'moved' | 'done' | 'gone', state before}
local id = args.id
local job = fields(RECORD .. id, 'state', 'lease', 'queue', 'backend', 'keep', 'idem', 'worker', 'deliveries', 'answers',
  'settled', 'released', 'incident', 'promised_until', 'keep_unread_s', 'reserve')
local state, queue = job.state, queue_of(id, job)
if not state then return {'gone', ''} end
if state == 'done' then return {'done', redis.call('HGET', RECORD .. id, 'status') or ''} end
local busy = state == 'started' and redis.call('HGET', RQ_JOB .. id, 'status') ~= 'canceled'
if args.deliveries and (busy or args.deliveries ~= (tonumber(job.deliveries) or 0)) then return {'moved', state} end
local keys_to_delete = {}
if job.answers then keys_to_delete[#keys_to_delete + 1] = ANSWERS .. id end
if state == 'started' then
  end_lease(id, job.lease, queue, job.backend, keys_to_delete, now, job.reserve, nil)
  redis.call('PUBLISH', RQ_PUBSUB .. (job.worker or ''), cjson.encode({command = 'stop-job', job_id = id, ended = true}))
else
  remove_waiting(id, state, queue, now, args.status == 'expired' and 'expired' or nil)
end
args.settled = job.settled
finish(id, queue, job, args, ARGV[3], keys_to_delete, now)
count_substitution(args.substitution, now)
return {'finished', state}
