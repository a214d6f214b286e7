-- The breaker of a target: a model at a backend (`tower/coder`), or a key (`key:...`). Shared by the scripts that claim,
-- settle, probe and force. The server's clock decides; an epoch, raised by every change, makes late reports no-ops.
-- What claim must know stands in BLOCKED, so that it costs nothing while all is well:
--   target          'open UNTIL' | 'probe UNTIL' (half open; the next probe may be handed out then) | 'ramp SINCE MS'
--   target .. ' cool'   UNTIL (a 429: everybody waits)
--   'local-only'        why (nothing leaves the local pools)
-- `rules` is the policy as JSON, times in ms: read only when something has gone wrong.
local NEVER = 9007199254740000

local function breaker_go(target, to, why, rules, chance, now)
  local key = BREAKER .. target
  local b = redis.call('HMGET', key, 'state', 'epoch', 'since', 'opens')
  local opens, ends = tonumber(b[4] or 0), 0
  if to == 'open' then
    local healthy = (b[1] or 'closed') == 'closed' and now - tonumber(b[3] or now) > rules.forget_after
    opens = (healthy and 0 or opens) + 1
    local wait = math.min(rules.recover_most, rules.recover_after * 2 ^ math.min(opens - 1, 20))
    ends = math.floor(now + wait * (1 + rules.spread * (2 * chance - 1)))
    redis.call('HSET', BLOCKED, target, 'open ' .. ms(ends))
    redis.call('HDEL', RELEASE, string.match(target, '[^/]*$'))  -- what it releases begins anew, with the first
  elseif to == 'half_open' then
    redis.call('HSET', BLOCKED, target, 'probe 0')
  elseif rules.ramp > 0 then
    redis.call('HSET', BLOCKED, target, 'ramp ' .. ms(now) .. ' ' .. ms(rules.ramp))
  else
    redis.call('HDEL', BLOCKED, target)
  end
  local epoch = tonumber(b[2] or 0) + 1
  redis.call('HSET', key, 'state', to, 'epoch', epoch, 'since', ms(now), 'until', ms(ends), 'why', why, 'opens', opens,
    'run', 0, 'ok', 0)
  redis.call('HDEL', key, 'probe', 'forced')
  redis.call('DEL', WINDOW .. target)
  redis.call('SADD', BREAKERS, target)
  redis.call('LPUSH', HISTORY, cjson.encode({at = now, target = target, from = b[1] or 'closed', to = to, why = why}))
  redis.call('LTRIM', HISTORY, 0, 199)
  count('breaker_' .. to)
  return epoch
end

-- The sums of a window: calls, failed, slow, repeated, ms. Slots that are too old are dropped, and those of the future:
-- another length of window, before its rule was changed, had counted them.
local function window_sums(target, slot, slots)
  local sums, old = {n = 0, f = 0, s = 0, r = 0, ms = 0}, {}
  local told = redis.call('HGETALL', WINDOW .. target)
  for i = 1, #told, 2 do
    local at, what = string.match(told[i], '^(%d+):(%a+)$')
    at = tonumber(at)
    if at <= slot - slots or at > slot then old[#old + 1] = told[i] else sums[what] = sums[what] + told[i + 1] end
  end
  if #old > 0 then redis.call('HDEL', WINDOW .. target, unpack(old)) end
  return sums
end

local function why_open(mark, target, run, slot, rules)
  if mark == 'trip' then return 'it cannot work before somebody has mended it' end
  if mark == 'failure' and run >= rules.open_after then return run .. ' failures in a row' end
  local sums = window_sums(target, slot, 10)
  if sums.n < rules.least_calls then return nil end
  if sums.f / sums.n >= rules.failure_rate then return sums.f .. ' of ' .. sums.n .. ' calls failed' end
  if sums.s / sums.n >= rules.slow_rate then return sums.s .. ' of ' .. sums.n .. ' calls were slow' end
  return nil
end

-- What a call came to: 'ok', 'slow', 'failure', 'neutral' or 'trip'. A call that began in another epoch says nothing.
-- `bucket` is a tenth of the window in ms, `took` the call's time in ms, `repeated` whether it was a repetition.
-- Returns whether this opened it.
local function breaker_report(target, call, rules, now)
  local b = redis.call('HMGET', BREAKER .. target, 'state', 'epoch', 'run', 'forced')
  if (b[2] or '0') ~= call.epoch or (b[1] or 'closed') ~= 'closed' then return false end
  local slot, window = math.floor(now / call.bucket), WINDOW .. target
  if call.repeated and redis.call('HINCRBY', window, slot .. ':r', 1) == 1 then
    redis.call('PEXPIRE', window, call.bucket * 12)
  end
  if call.mark == 'neutral' then return false end
  if redis.call('HINCRBY', window, slot .. ':n', 1) == 1 then  -- a slot has begun: those that are over make room
    redis.call('PEXPIRE', window, call.bucket * 12)
    window_sums(target, slot, 10)
  end
  redis.call('HINCRBY', window, slot .. ':ms', call.took)
  if call.mark == 'failure' then redis.call('HINCRBY', window, slot .. ':f', 1) end
  if call.mark == 'slow' then redis.call('HINCRBY', window, slot .. ':s', 1) end
  local run = 0
  if call.mark == 'failure' then
    run = redis.call('HINCRBY', BREAKER .. target, 'run', 1)
    redis.call('SADD', BREAKERS, target)
  elseif b[3] and b[3] ~= '0' then
    redis.call('HSET', BREAKER .. target, 'run', 0)
  end
  if call.mark == 'ok' then return false end
  local forced, ends = string.match(b[4] or '', '^(%S+) (%d+)')
  if forced == 'closed' and tonumber(ends) > now then return false end
  local told = cjson.decode(rules)
  local why = why_open(call.mark, target, run, slot, told)
  if not why then return false end
  breaker_go(target, 'open', call.why ~= '' and (why .. ': ' .. call.why) or why, told, call.chance, now)
  return true
end

-- Everybody waits: what a 429 asks for. Never shortens what was asked before.
local function cool_down(target, wait, now)
  local key, ends = target .. ' cool', now + wait
  if tonumber(redis.call('HGET', BLOCKED, key) or 0) < ends then redis.call('HSET', BLOCKED, key, ms(ends)) end
end
