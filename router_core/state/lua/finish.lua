-- End a job from outside: cancelled by somebody, or expired where it waited. Whoever is calling for it is stopped.
-- ARGV: clock, id, deliveries the caller saw ('' : any), status, rq status, result, rq why
-- Reply: {'finished' | 'moved' | 'done' | 'gone', state before}
local now = clock()
local id = ARGV[2]
local r = redis.call('HMGET', RECORD .. id, 'state', 'lease', 'queue', 'backend', 'keep', 'idem', 'worker', 'deliveries',
  'answers', 'settled', 'released', 'mail')
local state, queue = r[1], r[3]
if not state then return {'gone', ''} end
if state == 'done' then return {'done', redis.call('HGET', RECORD .. id, 'status')} end
local busy = state == 'started' and redis.call('HGET', RQ_JOB .. id, 'status') ~= 'canceled'
if ARGV[3] ~= '' and (busy or ARGV[3] ~= (r[8] or '0')) then return {'moved', state} end
local gone = {}
if r[9] then gone[#gone + 1] = ANSWERS .. id end
if state == 'started' then
  release(id, r[2], queue, r[4], gone)
  redis.call('PUBLISH', RQ_PUBSUB .. r[7], cjson.encode({command = 'stop-job', job_id = id, ended = true}))
else
  remove_waiting(id, state, queue, now, ARGV[4] == 'expired' and 'expired' or nil)
end
finish(id, queue, {status = ARGV[4], rq_status = ARGV[5], result = ARGV[6], value = '', why = ARGV[7],
  keep = tonumber(r[5]), idem = r[6], settled = r[10], released = r[11], mail = r[12]}, gone, now)
return {'finished', state}
