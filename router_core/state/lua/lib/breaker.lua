-- @include metrics
-- The breaker of a target: a model at a backend (`tower/coder`), or a key (`key:...`). The server's clock decides.
-- Every change raises the epoch, which makes the reports of earlier calls no-ops.
-- BLOCKED holds what a claim must know. It is empty while all is well:
--   target              'open UNTIL' | 'half_open UNTIL' (the next probe may be handed out then) | 'slow_start SINCE MS'
--   target .. ' cool'   UNTIL (a 429: every caller waits). `tower/coder#KEY` is the target of one of several keys
--   'local-only'        why (nothing leaves the local pools)
-- `policy` is the breaker policy, see `policy_arguments` in settlement.py. It is decoded once.
local NEVER = 9007199254740000

-- Note the failure that a breaker will name as its cause: error, http_status, cause (see `describe_cause` in outcome.py).
local function note_cause(target, failure)
  redis.call('HSET', BREAKER .. target, 'error', failure.error or '', 'http_status', failure.http_status or '', 'cause',
    failure.cause or '')
end

-- Why a breaker opens, with the cause in brackets that have none inside: '5 failures in a row (overloaded: HTTP 529)'.
local function with_cause(why, cause)
  if not cause or cause == '' then return why end
  return why .. ' (' .. string.gsub(cause, ' %((.*)%)$', ': %1') .. ')'
end

-- `open_until` (ms): it opens until then, whatever the policy says.
local function breaker_change(target, to, why, policy, jitter, now, open_until)
  local key = BREAKER .. target
  local breaker = fields(key, 'state', 'epoch', 'since', 'open_count')
  local state = breaker.state or 'closed'
  local open_count, ends_at = tonumber(breaker.open_count) or 0, 0
  if to == 'open' then
    local healthy = state == 'closed' and now - (breaker.since or now) > policy.reset_after * 1000
    open_count = (healthy and 0 or open_count) + 1
    local open_ms = 1000 * math.min(policy.open_for_max, policy.open_for * 2 ^ math.min(open_count - 1, 20))
    ends_at = open_until or math.floor(now + open_ms * (1 + policy.jitter * (2 * jitter - 1)))
    redis.call('HSET', BLOCKED, target, 'open ' .. ms(ends_at))
    redis.call('HDEL', RELEASE_WINDOW, string.match(target, '[^/]*$'))  -- its releases start again with the first few
  elseif to == 'half_open' then
    redis.call('HSET', BLOCKED, target, 'half_open 0')
  elseif policy.slow_start > 0 then
    redis.call('HSET', BLOCKED, target, 'slow_start ' .. ms(now) .. ' ' .. ms(policy.slow_start * 1000))
  else
    redis.call('HDEL', BLOCKED, target)
  end
  local epoch = (tonumber(breaker.epoch) or 0) + 1
  redis.call('HSET', key, 'state', to, 'epoch', epoch, 'since', ms(now), 'until', ms(ends_at), 'why', why,
    'open_count', open_count, 'consecutive_failures', 0, 'probe_successes', 0)
  redis.call('HDEL', key, 'probe', 'forced', 'trial')
  if state == 'closed' and to == 'open' then redis.call('HSET', key, 'away_since', ms(now)) end
  if to == 'closed' then redis.call('HDEL', key, 'away_since', 'error', 'http_status', 'cause') end
  redis.call('DEL', BREAKER_WINDOW .. target)
  redis.call('SADD', BREAKERS, target)
  redis.call('LPUSH', BREAKER_HISTORY, cjson.encode({at = now, target = target, from = state, to = to, why = why}))
  redis.call('LTRIM', BREAKER_HISTORY, 0, policy.max_history - 1)
  count('breaker_' .. to)
  local backend, model = string.match(target, '^([^/]*)/(.*)$')
  metrics.add_event('breaker ' .. metrics.word(backend) .. ' ' .. metrics.word(model) .. ' ' .. to, now)
end

-- The sums of a window: calls, failed, slow, ms. Slots outside the window are deleted: those that are too old,
-- and those of the future, which were counted before the length of the window was changed.
local function window_sums(target, policy, now)
  local slot = math.floor(now / policy.slot_ms)
  local sums, outside = {n = 0, f = 0, s = 0, ms = 0}, {}
  local entries = redis.call('HGETALL', BREAKER_WINDOW .. target)
  for i = 1, #entries, 2 do
    local at, counter = string.match(entries[i], '^(%d+):(%a+)$')
    at = number(at)
    if not at or not sums[counter] or not number(entries[i + 1]) or at <= slot - policy.window_slots or at > slot then
      outside[#outside + 1] = entries[i]
    else
      sums[counter] = sums[counter] + entries[i + 1]
    end
  end
  if #outside > 0 then redis.call('HDEL', BREAKER_WINDOW .. target, unpack(outside)) end
  return sums
end

-- Why a breaker opens now (nil: it stays closed), to stand behind `open after`; and whether slow calls are the reason.
local function reason_to_open(signal, target, failures, trial, policy, now)
  if signal == 'trip' then return 'a failure that does not pass by itself' end
  if signal == 'failure' and trial then return 'its first call on trial failed' end
  if signal == 'failure' and failures >= policy.consecutive_failures then return failures .. ' failures in a row' end
  local sums = window_sums(target, policy, now)
  if sums.n < policy.minimum_calls then return nil end
  if sums.f / sums.n >= policy.failure_rate then return sums.f .. ' of ' .. sums.n .. ' calls failed' end
  if sums.s / sums.n >= policy.slow_call_rate then return sums.s .. ' of ' .. sums.n .. ' calls were slow', true end
  return nil
end

-- Report a call: signal ('ok', 'slow', 'failure', 'neutral', 'trip'), is_slow (a call that reached a time limit is both
-- failed and slow), epoch, duration_ms, jitter, and of a failure error, http_status?, cause. A call of another epoch is
-- ignored. Returns whether this opened the breaker.
local function breaker_report(target, call, policy, now, open_until)
  local breaker = fields(BREAKER .. target, 'state', 'epoch', 'consecutive_failures', 'forced', 'trial')
  if (breaker.epoch or '0') ~= call.epoch or (breaker.state or 'closed') ~= 'closed' or call.signal == 'neutral' then
    return false
  end
  local slot, window = math.floor(now / policy.slot_ms), BREAKER_WINDOW .. target
  if redis.call('HINCRBY', window, slot .. ':n', 1) == 1 then  -- a slot has begun: delete those that are over
    redis.call('PEXPIRE', window, policy.slot_ms * 12)
    window_sums(target, policy, now)
  end
  redis.call('HINCRBY', window, slot .. ':ms', call.duration_ms)
  if call.signal == 'failure' then redis.call('HINCRBY', window, slot .. ':f', 1) end
  if call.is_slow then redis.call('HINCRBY', window, slot .. ':s', 1) end
  local failures = 0
  if call.signal == 'failure' then
    failures = redis.call('HINCRBY', BREAKER .. target, 'consecutive_failures', 1)
    redis.call('SADD', BREAKERS, target)
    note_cause(target, call)
  elseif breaker.consecutive_failures and breaker.consecutive_failures ~= '0' then
    redis.call('HSET', BREAKER .. target, 'consecutive_failures', 0)
  end
  if breaker.trial then redis.call('HDEL', BREAKER .. target, 'trial') end
  if call.signal == 'ok' then return false end
  local forced, ends_at = string.match(breaker.forced or '', '^(%S+) (%d+)')
  if forced == 'closed' and tonumber(ends_at) > now then return false end
  local why, slow = reason_to_open(call.signal, target, failures, breaker.trial, policy, now)
  if not why then return false end
  if slow then note_cause(target, {cause = 'slow'}) elseif call.signal == 'trip' then note_cause(target, call) end
  local cause = redis.call('HGET', BREAKER .. target, 'cause')
  if not slow then why = with_cause(why, cause) end
  breaker_change(target, 'open', why, policy, call.jitter or 0, now, open_until)
  return true
end

-- The target of a cooldown: a model at a backend; with one key alone (''), if the backend has several.
local function cooldown_target(backend, model, key)
  local target = backend .. '/' .. model
  return key == '' and target or target .. '#' .. key
end

-- Let every caller wait, as a 429 asks. Never shortens an earlier wait.
local function cool_down(target, wait_ms, cause, now)
  local key, ends_at = target .. ' cool', now + wait_ms
  redis.call('HSET', BREAKER .. target, 'cool_cause', cause or '')
  if number(redis.call('HGET', BLOCKED, key), 0) < ends_at then redis.call('HSET', BLOCKED, key, ms(ends_at)) end
end
