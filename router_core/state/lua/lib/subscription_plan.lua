-- @include breaker
-- The limits of a subscription. PLAN has, for each window of a key ({n}: its number), `opened:{n}` (ms: its first
-- call), `calls:{n}` in it, and `caps:{n}`: how many calls were made when it was used up, the last five times, the
-- latest first. `refused` ('MODEL UNTIL') is the last model that was refused for an unknown limit; `pauses:{model}`
-- ('COUNT UNTIL') how often in a row a model was refused without a time, and until when (ms) it waits. `share:{number}`
-- ('WINDOW_SECONDS PERMILLE RESETS_AT'): the used share of a window of the provider, as it names it.
local PLAN_TTL_S, MAX_CAPS = 100 * 86400, 5

-- Whether a refusal is one of the key. A long wait alone is one of the model: other models may have limits of their
-- own. A second model that is refused like this before the first may be called again, without an answer between, is the
-- evidence that the key is used up.
local function key_is_out(key, model, plan, now)
  if not plan.is_out or plan.scope ~= 'unknown' then return plan.is_out and plan.scope == 'key' end
  local other, ends_at = string.match(redis.call('HGET', key, 'refused') or '', '^(%S+) (%d+)$')
  if other and other ~= model and tonumber(ends_at) > now then return true end
  redis.call('HSET', key, 'refused', model .. ' ' .. ms(now + plan.pause_seconds * 1000))
  return false
end

-- For how long (ms) a model waits whose limit is used up: as the provider says, else twice as long each time.
local function model_pause(key, model, plan, now)
  if plan.pause_seconds > 0 then return plan.pause_seconds * 1000 end
  local pauses, ends_at = string.match(redis.call('HGET', key, 'pauses:' .. model) or '0 0', '^(%d+) (%d+)$')
  pauses, ends_at = tonumber(pauses) or 0, tonumber(ends_at) or 0
  -- Calls that were in flight together are refused together. No pause of ours ends later than the longest.
  if ends_at > now and ends_at <= now + plan.open_for_max * 1000 then return ends_at - now end
  local pause_ms = 1000 * math.min(plan.open_for_max, plan.open_for * 2 ^ math.min(pauses, 20))
  redis.call('HSET', key, 'pauses:' .. model, (pauses + 1) .. ' ' .. ms(now + pause_ms))
  return pause_ms
end

-- Note what a response says of the windows of its provider.
local function note_plan_shares(key, shares, now)
  for _, used in ipairs(shares) do
    redis.call('HSET', key, 'share:' .. used.number, ms(used.window_seconds) .. ' ' .. ms(used.permille) .. ' ' ..
      ms(now + used.resets_in_seconds * 1000))
  end
  if shares[1] then redis.call('EXPIRE', key, PLAN_TTL_S) end
end

-- Count a call of a key. `plan`: see subscription_limits.py. Returns whether its key is used up, until when (ms) it is
-- parked (nil: nothing is known), and for how long (ms) the model waits (0: it does not).
local function count_plan_call(target, model, plan, now)
  local key, parked_until, pause_ms = PLAN .. target, nil, 0
  local is_out = key_is_out(key, model, plan, now)
  if plan.is_out and not is_out then
    pause_ms = model_pause(key, model, plan, now)
    redis.call('EXPIRE', key, PLAN_TTL_S)
  elseif plan.answered then
    redis.call('HDEL', key, 'refused', 'pauses:' .. model)
  end
  for n, length_s in ipairs(plan.windows) do
    local window = redis.call('HMGET', key, 'opened:' .. n, 'calls:' .. n, 'caps:' .. n)
    local opened, calls = number(window[1], 0), number(window[2], 0)
    if opened > now or now >= opened + length_s * 1000 then opened, calls = now, 0 end
    if is_out and plan.refused == n then
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
  note_plan_shares(key, plan.shares, now)
  if plan.windows[1] then redis.call('EXPIRE', key, PLAN_TTL_S) end
  if plan.pause_seconds > 0 then parked_until = now + plan.pause_seconds * 1000 end
  return is_out, parked_until, pause_ms
end

-- The policy of a breaker for a plan that is out: its pauses are longer than those of a fault.
local function plan_policy(policy, plan) return setmetatable({open_for = plan.open_for, open_for_max = plan.open_for_max}, {__index = policy}) end
