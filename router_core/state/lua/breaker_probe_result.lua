-- @include call_report
-- @include budget_sums
-- Report the result of a probe. Only the last one handed out counts; one that was lost with its worker is handed out
-- again.
-- Arguments: target, token, signal ('ok', 'slow', 'failure', 'neutral', 'trip'), detail, error?, http_status?, cause
--   (of a failure), cooldown_seconds (of a 429), jitter, on_trial (the probe could not call the model: a first failed
--   call opens the breaker again), call? (see call_report.lua: a call of a metered model, which is paid for), plan?
--   (see subscription_limits.py: it was refused for a plan)
-- Bodies: breaker policy (JSON)
-- Reply: {the breaker's state, '' | 'no_lease'}
local MIN_WAIT_MS = 1000
local target, key = args.target, BREAKER .. args.target
if args.call then add_to_ledger(args.call, now) end
local breaker = fields(key, 'state', 'probe')
if breaker.probe == args.token then
  local cost = 0
  if args.call then cost = args.call.cost_nusd end
  end_probe_reserve(key, cost)
end
if breaker.state ~= 'half_open' or breaker.probe ~= args.token then return {breaker.state or 'closed', 'no_lease'} end
local policy = decode_once(ARGV[3])
redis.call('HDEL', key, 'probe')
if args.signal == 'neutral' then  -- it tells nothing about the model: probe again a little later, or when a 429 allows it
  redis.call('HSET', BLOCKED, target, 'half_open ' .. ms(now + math.max(MIN_WAIT_MS, 1000 * args.cooldown_seconds)))
elseif args.signal == 'ok' then
  if redis.call('HINCRBY', key, 'probe_successes', 1) >= policy.probe_successes then
    breaker_change(target, 'closed', args.on_trial and args.detail or 'its probes were answered', policy, 0, now)
    if args.on_trial then redis.call('HSET', key, 'trial', 1) end
  else
    redis.call('HSET', BLOCKED, target, 'half_open 0')
  end
else
  note_cause(target, args)
  local parked_until
  if args.plan then
    local _, until_ms = count_plan_call(target, '', args.plan, now)
    parked_until, policy = until_ms, plan_policy(policy, args.plan)
    if parked_until and parked_until <= now then parked_until = nil end
  end
  breaker_change(target, 'open', with_cause('its probe failed', args.cause), policy, args.jitter, now, parked_until)
end
return {redis.call('HGET', key, 'state'), ''}
