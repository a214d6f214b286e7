-- @include fall_and_release
-- @include lifecycle
-- @include finish_job
-- @include call_report
-- @include hold_and_incident
-- @include limit_corrections
-- Settle a delivery: check the fence, write the attempt, end the lease, move the job to its next place. Also report its
-- call to the breakers of its model and its key, and to the ledger.
-- Arguments: id, token, call? (see call_report.lua; absent: none was made), remember? ({key, seconds}: the result is
--   kept as the last answer to the same request), substitution? (see ledger.lua: the answer is given in place of the
--   first choice), cut? (a call may have been made, and its outcome is not known), limits? ({backend, moved}: see limit_corrections.lua), max_falls (records of falls that are kept), job_counts?, metrics? (see metrics.lua), verb, and by verb:
--   done:     status, rq_status, rq_value?, rq_error?, keep_prompt
--   queue:    queue, at_front
--   later:    queue, delay_ms
--   fall:     reason, detail, over? (the budget that its call does not fit into, see budget_book.py): nothing can serve it
--   default_fallback: queue, at_front, model, why, reason (of its fall): a fallen job goes to a model outside its chain
--   hold:     hold (see hold_and_incident.lua)
--   back:     to the front of its queue, as if it had never been delivered
-- Bodies: breaker policy (JSON), attempt (a line of JSON, or ''), answer to keep ('': none), record of a fall that this
--   settles (JSON, or ''), result (done) or interim reply (hold)
-- Reply: {'settled' | 'again' | 'late' | 'gone', state, 1 if a breaker opened}
local policy, attempt, answer, fall_record, result = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local id, token, verb, call = args.id, args.token, args.verb, args.call
local record = RECORD .. id
local job = fields(record, 'state', 'lease', 'settled', 'queue', 'backend', 'attempts', 'keep', 'idem', 'deliveries',
  'pieces', 'answers', 'moved', 'released', 'keep_unread_s', 'fell_lease', 'fell_from', 'incident', 'promised_until',
  'deadline', 'reserve')
local state, queue = job.state, queue_of(id, job)

-- The tokens of the deliveries whose settle arrived lately; '!token' when it was refused. A settle that is sent again,
-- even after its job went on, is recognized by its token. At most 64 bytes: up to there Redis packs a hash tightly.
local MAX_SETTLED_BYTES = 64
local settled = job.settled or ''
local function was_settled(word) return string.find(' ' .. settled .. ' ', ' ' .. word .. ' ', 1, true) end
local function settled_with(word)
  local words = settled == '' and word or settled .. ' ' .. word
  while #words > MAX_SETTLED_BYTES and string.find(words, ' ') do words = string.match(words, ' (.*)$') end
  return words
end

-- A refused settle was paid all the same.
local function note_paid_call()
  if args.limits then correct_limits(args.limits.backend, args.limits.moved, now) end
  if call then add_to_ledger(call, now) end
end

if not state then  -- Redis has lost its last writes, or another program has deleted the job
  count('settled_unknown')
  note_paid_call()
  return {'gone', '', 0}
end
if was_settled(token) then return {'again', state, 0} end
if was_settled('!' .. token) then return {'late', state, 0} end
-- The fence. An answer of a reaped delivery is accepted as long as no worker has claimed the job again. A claim of the
-- degrade worker does not count, since it calls no model.
local waits = state ~= 'started'
local reaped = verb == 'done' and (waits or job.fell_lease == token)
if (job.lease ~= token and not (reaped and job.fell_lease == token)) or state == 'done' or (waits and not reaped) then
  count('late')
  redis.call('HSET', record, 'settled', settled_with('!' .. token))
  note_paid_call()
  if call then confirm_cost(id, token, call.cost_nusd) end
  return {'late', state, 0}
end
local opened = 0
if args.limits then correct_limits(args.limits.backend, args.limits.moved, now) end
if call then
  add_to_ledger(call, now)
  if report_call(call, decode_once(policy), now) then opened = 1 end
end
local keys_to_delete = {}
local cost = 0
if call or args.cut then cost = call and call.cost_nusd end
end_lease(id, job.lease, queue, job.backend, keys_to_delete, now, job.reserve, cost)
if reaped then
  confirm_cost(id, token, call and call.cost_nusd)
  if waits then remove_waiting(id, state, queue, now) end
  if queue == DEGRADE then queue = job.fell_from or DEGRADE end
  count('late_accepted')
end

-- Why the job goes on after this attempt, for its events: the call failed, or it gave one answer of an ensemble.
local function why_it_goes_on()
  if attempt == '' then return nil end
  local made = cjson.decode(attempt)
  return made.model .. '@' .. made.backend .. ': ' .. (made.error or 'answered, one of several') ..
    (made.detail and (' (' .. made.detail .. ')') or '')
end

if args.metrics then metrics.add(args.metrics, now) end
if verb ~= 'done' then
  if args.job_counts then metrics.add_jobs(args.job_counts, now) end
  redis.call('HSET', record, 'settled', settled_with(token))
  examine_if_overdue(id, job.deadline, now)
end
if attempt ~= '' then
  redis.call('HSET', record, 'attempts', job.attempts and (job.attempts .. '\n' .. attempt) or attempt)
end
if answer ~= '' then
  redis.call('RPUSH', ANSWERS .. id, answer)
  redis.call('HSET', record, 'answers', 1)
end
local incident = fall_record ~= '' and log_fall(id, fall_record, args.max_falls, now)

if verb == 'done' then
  if args.remember then redis.call('SET', LAST_ANSWER .. args.remember.key, result, 'EX', args.remember.seconds) end
  if job.answers then keys_to_delete[#keys_to_delete + 1] = ANSWERS .. id end
  args.settled, args.plain = settled_with(token), job.deliveries == '1' and not job.pieces and not job.moved
  finish(id, queue, job, args, result, keys_to_delete, now)
  count_substitution(args.substitution, now)
  return {'settled', 'done', opened}
elseif verb == 'queue' then
  enqueue_with_event(id, args.queue, args.at_front, why_it_goes_on(), now)
  end_release(id, job.released, answer ~= '')
  count('handed_off')
elseif verb == 'later' then
  deliver_later(id, args.queue, args.delay_ms, why_it_goes_on(), now)
  count('delayed')
elseif verb == 'hold' then
  if args.hold.reason == 'unreadable' and redis.call('HGET', record, 'fell_for') ~= 'unreadable' then
    note_unreadable_job(id, args.hold.detail)
  end
  hold(id, args.hold, result, incident, now)
elseif verb == 'fall' then
  if args.reason == 'unreadable' then note_unreadable_job(id, args.detail) end
  fall(id, args.reason, args.detail, now)
  if args.over then redis.call('HSET', record, 'fell_over', args.over) end
elseif verb == 'default_fallback' then
  redis.call('HSET', record, 'default_fallback', args.model)
  count('stood_in')
  add_event(id, cjson.encode({event = 'degraded', at = now, reason = args.reason, detail = args.why, by = 'default_fallback',
    text = ''}))
  enqueue_with_event(id, args.queue, args.at_front, args.why, now)
elseif verb == 'back' then
  redis.call('HINCRBY', record, 'deliveries', -1)
  redis.call('HSET', record, 'moved', 1)
  enqueue_with_event(id, queue, true, 'worker stopping', now)
  count('put_back')
end
if #keys_to_delete > 0 then redis.call('DEL', unpack(keys_to_delete)) end
return {'settled', redis.call('HGET', record, 'state'), opened}
