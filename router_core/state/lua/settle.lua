-- Settle a delivery: check the fence, write the attempt, give the lease back, move the job to its next place.
-- Also what goes with the end of a call: the breakers of its model and its key hear of it, the ledger counts it.
-- ARGV: clock, id, token, worker, verb, attempt (JSON line or ''),
--   call ('' : none was made; else its fields, below), rules (breaker policy, JSON), answer to keep ('' : none),
--   fall (record of a fall that this settles, JSON, or ''), remember ('{seconds} {key}': the result, or ''), then by verb:
--   done:  status, rq status, result (which has every attempt), rq value, rq why, keep prompt (1/0)
--   queue: queue, at front (1/0)
--   later: queue, delay (ms)
--   fall:  reason, detail: nothing can serve it
--   stand_in: queue, at front (1/0), model, why, reason of its fall: a job that fell goes to a model outside its chain
--   hold:  reason, detail, by, text, models, ready_at (ms), strikes, reply, keep_until (ms): see hold.lua
--   back:  (nothing) to the front of its queue: the delivery never happened
-- call: see call.lua
-- Reply: {'settled' | 'again' | 'late' | 'gone', state, 1 if a breaker opened}
local now = clock()
local id, token, worker, verb, attempt = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local record = RECORD .. id
local r = redis.call('HMGET', record, 'state', 'lease', 'settled', 'queue', 'backend', 'attempts', 'keep', 'idem',
  'deliveries', 'deltas', 'answers', 'moved', 'released', 'mail', 'fell_lease', 'fell_from')
local state, queue = r[1], r[4]
local call = call_of(ARGV[7])

-- The deliveries whose settle has arrived, of late: 'token' or, when it was refused, '!token'. One that is sent again,
-- even after its job went on, is known by it. No longer than 64 bytes: Redis packs a hash tightly up to there.
local heard = r[3] or ''
local function was_heard(word) return string.find(' ' .. heard .. ' ', ' ' .. word .. ' ', 1, true) end
local function with(word)
  local words = heard == '' and word or heard .. ' ' .. word
  while #words > 64 and string.find(words, ' ') do words = string.match(words, ' (.*)$') end
  return words
end

if not state then return {'gone', '', 0} end
if was_heard(token) then return {'again', state, 0} end
if was_heard('!' .. token) then return {'late', state, 0} end
-- The fence. A delivery that was reaped is still welcome with an answer, as long as nobody has claimed the job again; the
-- degrade worker does not count, for it asks nobody.
local waits = state ~= 'started'
local reaped = verb == 'done' and (waits or r[15] == token)
if (r[2] ~= token and not (reaped and r[15] == token)) or state == 'done' or (waits and not reaped) then
  count('late')
  redis.call('HSET', record, 'settled', with('!' .. token))
  if call then enter_in_ledger(call, false, now) end  -- it was paid all the same
  return {'late', state, 0}
end
local opened = 0
if call then
  enter_in_ledger(call, verb == 'queue', now)
  opened = report_call(call, ARGV[8], now)
end
local gone = {}
if r[5] then release(id, r[2], queue, r[5], gone) end
if reaped then
  if waits then remove_waiting(id, state, queue, now) end
  if queue == DEGRADE then queue = r[16] end
  count('late_accepted')
end
-- What the listeners of a job are told of a failed attempt.
local function failed()
  if attempt == '' then return nil end
  local made = cjson.decode(attempt)
  return made.model .. '@' .. made.backend .. ': ' .. (made.error or 'no error') ..
    (made.detail and (' (' .. made.detail .. ')') or '')
end

if verb ~= 'done' then redis.call('HSET', record, 'settled', with(token)) end
if attempt ~= '' then redis.call('HSET', record, 'attempts', r[6] and (r[6] .. '\n' .. attempt) or attempt) end

if ARGV[9] ~= '' then
  redis.call('RPUSH', ANSWERS .. id, ARGV[9])
  redis.call('HSET', record, 'answers', 1)
end

local incident = ARGV[10] ~= '' and log_fall(id, ARGV[10], now)
if verb == 'done' then
  if ARGV[11] ~= '' then
    local seconds, key = string.match(ARGV[11], '^(%d+) (.*)$')
    redis.call('SET', LAST .. key, ARGV[14], 'EX', seconds)
  end
  if r[11] then gone[#gone + 1] = ANSWERS .. id end
  finish(id, queue, {status = ARGV[12], rq_status = ARGV[13], result = ARGV[14], value = ARGV[15], why = ARGV[16],
    keep = tonumber(r[7]), keep_prompt = ARGV[17] == '1', idem = r[8], settled = with(token),
    plain = r[9] == '1' and not r[10] and not r[12], released = r[13], mail = r[14]}, gone, now)
  return {'settled', 'done', opened}
elseif verb == 'queue' then
  local position = enqueue(id, ARGV[12], ARGV[13] == '1', now)
  unrelease(id, r[13], ARGV[9] ~= '')
  count('handed_off')
  tell(id, cjson.encode({event = 'queued', at = now, queue = ARGV[12], position = position, why = failed()}))
elseif verb == 'later' then
  local due = now + tonumber(ARGV[13])
  schedule(id, ARGV[12], due)
  redis.call('ZADD', SCHEDULED .. pool_of(ARGV[12]), due, id)
  count('delayed')
  tell(id, cjson.encode({event = 'scheduled', at = now, queue = ARGV[12], due = due, why = failed()}))
elseif verb == 'hold' then
  hold(id, {reason = ARGV[12], detail = ARGV[13], by = ARGV[14], text = ARGV[15], models = ARGV[16], ready_at = ARGV[17],
    strikes = ARGV[18], reply = ARGV[19], keep_until = tonumber(ARGV[20])}, incident, now)
elseif verb == 'fall' then
  fall(id, ARGV[12], ARGV[13], now)
elseif verb == 'stand_in' then
  redis.call('HSET', record, 'stand_in', ARGV[14])
  count('stood_in')
  tell(id, cjson.encode({event = 'degraded', at = now, reason = ARGV[16], detail = ARGV[15], by = 'default_fallback', text = ''}))
  local position = enqueue(id, ARGV[12], ARGV[13] == '1', now)
  tell(id, cjson.encode({event = 'queued', at = now, queue = ARGV[12], position = position, why = ARGV[15]}))
elseif verb == 'back' then
  redis.call('HINCRBY', record, 'deliveries', -1)
  local position = enqueue(id, queue, true, now)
  count('put_back')
  tell(id, cjson.encode({event = 'queued', at = now, queue = queue, position = position, why = 'worker stopping'}))
end
if #gone > 0 then redis.call('DEL', unpack(gone)) end
return {'settled', redis.call('HGET', record, 'state'), opened}
