-- @include breaker
-- @include ledger
-- @include subscription_plan
-- A call that was made, for the breakers and the ledger. `call` is the object that `encode_call` in settlement.py
-- builds.

-- Report a call to the breakers of its model and of its key. Returns whether one of them opened.
local function report_call(call, policy, now)
  local target = call.backend .. '/' .. call.model
  local opened = breaker_report(target, call, policy, now)
  local is_out, parked_until, pause_ms = false, nil, 0
  if call.plan then
    local payer = call.key ~= '' and 'key:' .. call.key or target
    is_out, parked_until, pause_ms = count_plan_call(payer, call.model, call.plan, now)
  end
  if call.key_signal == 'cooldown' then
    local cooled = cooldown_target(call.backend, call.model, call.one_of_several and call.key or '')
    cool_down(cooled, math.max(call.cooldown_ms or 0, pause_ms), call.cause, now)
  end
  if call.key ~= '' and (call.key_signal == 'park' or is_out) then
    local trip = {signal = 'trip', epoch = call.key_epoch, duration_ms = 0, jitter = call.jitter or 0,
      error = call.error, http_status = call.http_status, cause = call.cause}
    opened = breaker_report('key:' .. call.key, trip, is_out and plan_policy(policy, call.plan) or policy, now, parked_until) or opened
  end
  return opened
end
