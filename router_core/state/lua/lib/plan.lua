-- @include breaker
-- The limits of a subscription. PLAN has, for each window of a key ({n}: its number), `opened:{n}` (ms: its first call),
-- `calls:{n}` in it, and `caps:{n}`: how many calls were made when it was used up, the last five times, the latest first.
local PLAN_TTL_S, MAX_CAPS = 100 * 86400, 5

-- Count a call. `plan`: see flat_plan.py. Returns until when (ms) the key is parked; nil: it is not, or nothing is known.
local function count_plan_call(target, plan, now)
  local key, parked_until = PLAN .. target, nil
  for n, length_s in ipairs(plan.windows) do
    local window = redis.call('HMGET', key, 'opened:' .. n, 'calls:' .. n, 'caps:' .. n)
    local opened, calls = number(window[1], 0), number(window[2], 0)
    if now >= opened + length_s * 1000 then opened, calls = now, 0 end
    if plan.is_out and plan.refused == n then
      local caps = ms(calls) .. (window[3] and ' ' .. window[3] or '')
      local kept = {}
      for cap in string.gmatch(caps, '%d+') do if #kept < MAX_CAPS then kept[#kept + 1] = cap end end
      if calls > 0 then redis.call('HSET', key, 'caps:' .. n, table.concat(kept, ' ')) end
      if opened + length_s * 1000 > now and opened < now then parked_until = opened + length_s * 1000 end
    elseif not plan.is_out then
      calls = calls + 1
    end
    redis.call('HSET', key, 'opened:' .. n, ms(opened), 'calls:' .. n, ms(calls))
  end
  if plan.windows[1] then redis.call('EXPIRE', key, PLAN_TTL_S) end
  if plan.pause_seconds > 0 then parked_until = now + plan.pause_seconds * 1000 end
  return parked_until
end

-- The policy of a breaker for a plan that is out: its pauses are longer than those of a fault.
local function plan_policy(policy, plan) return setmetatable({open_for = plan.open_for, open_for_max = plan.open_for_max}, {__index = policy}) end
