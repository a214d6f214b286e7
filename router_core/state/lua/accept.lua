-- @include unmet_demand
-- @include producer_turns
-- @include acceptance_refusal
-- @include equal_request
-- Accept a job: write it down, put it into its queue, wake a worker. Replies after the write; idempotent.
-- Arguments: id, queue, digest, producer, group?, label, idempotency_key?, deadline? (ms), expires_after_ms,
--   start_within_ms, keep_s, keep_unread_s, rq_timeout_s, max_queued (most jobs before it; 0: no limit), bound? (what
--   its call uses at most, for budgets: see cost_bound.py), tokens? (those of the prompt by an estimate, and the limit
--   of the answer, if the caller set one), stream?, local_only?, has_deadline? (the caller set one), inbox?, webhook?,
--   is_response? (the webhook is an event of OpenAI's Responses), gateway? (the caller is connected to it),
--   repeat_digest? (a repeat of this request joins the job while no caller is connected to it), caller_lease_ms? (the
--   job ends when its caller has been away as long), max_repeats, left_jobs? ({job, gateway that has no caller for
--   it}...), is_new? (an awaited job is another caller's), unmet? (models that the job would use if their card held
--   them)
-- Bodies: envelope, rq's data, reply_to (JSON, or '')
-- Reply: {'accepted' | 'joined' | 'conflict' | 'past', id, deadline, position}, or when no job is accepted:
--   {'awaited', {job, gateway, ms until the gateway's presence ends}...}: a gateway says that callers wait for equal requests;
--   {'pressed', id, why}, or {'full', id, jobs before it, how many of the queue were answered in the last minute}
local id, queue, digest = args.id, args.queue, args.digest
local known = fields(RECORD .. id, 'digest', 'deadline', 'state')
if known.state then
  -- A finished job has forgotten its digest: a producer that sends it again under its own id gets its receipt.
  if known.digest and known.digest ~= digest then return {'conflict', id} end
  return {'accepted', id, known.deadline or ms(now), count_waiting(queue, args.producer).all}
end
local idem
if args.idempotency_key then  -- the length first: a producer's name may have any character
  idem = #args.producer .. ':' .. args.producer .. ':' .. args.idempotency_key
  local text = redis.call('GET', IDEMPOTENCY .. idem)
  local other, other_digest = string.match(text or '', '^(%S+) (%S+)$')
  local deadline = other and fields(RECORD .. other, 'deadline').deadline
  if text and not deadline then note_unreadable(IDEMPOTENCY .. idem, 'names no job') end
  if deadline then
    if other_digest ~= digest then return {'conflict', other} end
    return {'joined', other, deadline, 0}
  end
end
local repeats, earlier
if args.repeat_digest then
  local reply
  repeats = REPEATS .. #args.producer .. ':' .. args.producer .. ':' .. args.repeat_digest
  reply, earlier = join_equal_request(repeats, args, now)
  if reply then return reply end
end
local deadline = args.deadline or now + args.expires_after_ms
if deadline <= now then return {'past', id, tostring(now)} end
local pressure = refusal()
if pressure then
  count('refused_memory')
  return {'pressed', id, pressure}
end
local waiting = count_waiting(queue, args.producer)
local position = next_position(queue, waiting)
if args.max_queued > 0 and position > args.max_queued then
  -- rq lists a finished job by when it is forgotten: `keep_s` after its end.
  local a_minute_ago = math.floor(now / 1000) + args.keep_s - 60
  return {'full', id, position - 1, redis.call('ZCOUNT', RQ_FINISHED .. queue, a_minute_ago, '+inf')}
end
if idem then redis.call('SET', IDEMPOTENCY .. idem, id .. ' ' .. digest) end
local at = iso(now)
redis.call('HSET', RQ_JOB .. id, 'created_at', at, 'data', ARGV[4], 'description', args.label, 'timeout', args.rq_timeout_s,
  'result_ttl', args.keep_s, 'status', 'queued', 'origin', queue, 'enqueued_at', at)
local record = {'state', 'queued', 'queue', queue, 'digest', digest, 'producer', args.producer, 'deadline', ms(deadline),
  'accepted', now, 'keep', args.keep_s}
local function add(name, value)
  if value then record[#record + 1], record[#record + 2] = name, value end
end
add('idem', idem)
add('group', args.group)
add('tokens', args.tokens)
add('bound', args.bound)
add('stream', args.stream and 1)
add('local_only', args.local_only and 1)
add('has_deadline', args.has_deadline and 1)
if args.inbox or args.webhook then  -- the producer reads the result later
  add('keep_unread_s', args.keep_unread_s)
  add('reply_to', ARGV[5])
  add('inbox', args.inbox)
  add('webhook', args.webhook)
  add('is_response', args.is_response and 1)
end
add('gateway', args.gateway)
redis.call('HSET', RECORD .. id, unpack(record))
if repeats then redis.call('SET', repeats, table.concat({id, unpack(earlier)}, ' '), 'PX', ms(deadline - now)) end
if args.caller_lease_ms then redis.call('ZADD', CALLER_LEASES, now + args.caller_lease_ms, id) end
redis.call('SET', PROMPT .. id, ARGV[3])
redis.call('ZADD', JOBS, now, id)
redis.call('ZADD', UNFINISHED, math.min(deadline, now + args.start_within_ms), id)
redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. queue)
add_waiting(id, queue, args.producer, false, waiting)
wake_worker(queue)
redis.call('RPUSH', EVENTS .. id, '{"event":"queued","at":' .. ms(now) .. ',"queue":"' .. queue
  .. '","position":' .. position .. '}')
note_unmet(args.unmet, now)
count('accepted')
return {'accepted', id, ms(deadline), position}
