-- @include budget_recount
-- @include lock
-- Compare what budgets have reserved with the reserves of the calls in flight, which are the truth, and correct it. Once for
-- the whole fleet. A difference is an error of openfall, or damage from outside: it is counted.
-- Arguments: check_ms (how long one audit is good)
-- Reply: the budgets that were corrected
local BUDGET_KEPT_MS, MAX_REMOVED = 100 * 86400000, 1000
if not take_lock('budget-audit', args.check_ms) then return {} end

-- Whether the lease of a probe is over for as long as an audit is good. A claim ends what a lost probe has reserved when it
-- hands out the next one: none does for a target that no catalog names any more.
local function is_probe_over(target)
  local leased_until = string.match(redis.call('HGET', BLOCKED, target) or '', '^half_open (%d+)$')
  return now > number(leased_until, 0) + args.check_ms
end

for _, target in ipairs(redis.call('SMEMBERS', BREAKERS)) do
  local key = BREAKER .. target
  local breaker = redis.call('HMGET', key, 'state', 'probe', 'reserve')
  if breaker[3] and (breaker[1] ~= 'half_open' or not breaker[2] or is_probe_over(target)) then
    end_probe_reserve(key)  -- the breaker has changed since, or its worker died: no result of the probe counts
  end
end
local sums, corrected = recounting.reserves(), {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', BUDGETS, '-inf', now - BUDGET_KEPT_MS, 'LIMIT', 0, MAX_REMOVED)) do
  redis.call('HDEL', BUDGET_SUMS, key)
  redis.call('ZREM', BUDGETS, key)
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', BUDGETS, now - DAY_MS, '+inf')) do
  local right = sums[key] or 0
  local sums = redis.call('HGET', BUDGET_SUMS, key)
  local spent, reserved, unconfirmed, calls, refusals = unpack_sums(key, sums)
  if sums and not spent then
    redis.call('HDEL', BUDGET_SUMS, key)  -- the next claim counts it again
  elseif spent and reserved ~= right then
    redis.call('HSET', BUDGET_SUMS, key, pack_sums(spent, right, unconfirmed, calls, refusals))
    count('budget_drift')
    corrected[#corrected + 1] = key
  end
end
return corrected
