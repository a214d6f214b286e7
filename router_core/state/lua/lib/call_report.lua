-- @include breaker
-- A call that was made, for the breakers and the ledger. `call` is the object that `encode_call` in settlement.py
-- builds.

-- Add a call to the sums of its day. `handed_on`: another model is called next; after a failure, a fallback.
local function add_to_ledger(call, handed_on, now)
  local day = LEDGER .. string.sub(iso(now), 1, 10)
  local row = call.model .. '@' .. call.backend .. ' ' .. call.group .. ' '
  local names, amounts = {row .. 'calls', row .. 'ms'}, {1, call.duration_ms}
  local function add(sum, amount)
    if amount > 0 then names[#names + 1], amounts[#amounts + 1] = row .. sum, amount end
  end
  add('failed', call.error and 1 or 0)
  add('in', call.input_tokens)
  add('out', call.output_tokens)
  if call.cost_nusd then add('nusd', call.cost_nusd) else add('unpriced', 1) end
  if handed_on then add('fallbacks', call.error and 1 or 0) end
  local sums, entries = redis.call('HMGET', day, unpack(names)), {}
  for i, name in ipairs(names) do
    entries[2 * i - 1], entries[2 * i] = name, ms((sums[i] or 0) + amounts[i])
  end
  redis.call('HSET', day, unpack(entries))
  if not sums[1] then redis.call('EXPIRE', day, call.ledger_ttl_s) end
end

-- Report a call to the breakers of its model and of its key. Returns whether one of them opened.
local function report_call(call, policy, now)
  local target = call.backend .. '/' .. call.model
  local opened = breaker_report(target, call, policy, now)
  if call.key_signal == 'cooldown' then cool_down(target, call.cooldown_ms, now) end
  if call.key ~= '' and call.key_signal == 'park' then
    local trip = {signal = 'trip', epoch = call.key_epoch, duration_ms = 0, jitter = call.jitter,
      error = call.error}
    opened = breaker_report('key:' .. call.key, trip, policy, now) or opened
  end
  return opened
end
