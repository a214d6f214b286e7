-- @include limit_corrections
-- Limits of calls and tokens a minute, of each key of a backend (GCRA, see catalog/rate_limits.py). LIMITS has, for each key and
-- limit, the moment at which the bucket is full again, in ms. Only backends with limits get here.
local LIMITS_TTL_S = 3600

local function load_limits(capacity, name)
  local limits = capacity.limits[name]
  if limits then return limits end
  limits = {}
  local entries = redis.call('HGETALL', LIMITS .. name)
  for i = 1, #entries, 2 do
    local full_at = bucket_full_at(entries[i + 1], capacity.now)
    limits[entries[i]] = full_at
    if not full_at and not number(entries[i + 1]) then
      redis.call('HDEL', LIMITS .. name, entries[i])
      note_unreadable(LIMITS .. name, 'has a limit that is no moment')
    end
  end
  capacity.limits[name] = limits
  return limits
end

-- What a call costs a bucket, as `Rate.cost_ms` in rate_limits.py.
local MINUTE_MS = 60000
local function limit_cost(rate, tokens)
  if not rate.tokens then return rate.unit_ms end
  local counted = math.min(tokens, rate.per_minute)
  local alone = 2 * counted >= rate.per_minute and MINUTE_MS or MINUTE_MS * counted / (rate.per_minute - counted)
  return math.max(counted * rate.unit_ms, alone)
end

-- From when a call with `tokens` may start with a key, and the number of the limit that lets it wait.
local function limited_until(capacity, backend, key, interactive, tokens)
  local limits, free_at, number = load_limits(capacity, backend.name), 0, 0
  for i, rate in ipairs(backend.rates) do
    if not (rate.others and interactive) then
      local cost = math.min(limit_cost(rate, tokens), rate.burst_ms)
      local at = math.ceil((limits[key .. ' ' .. rate.name] or 0) + cost - rate.burst_ms - 0.1)  -- fractions are not exact
      if at > free_at then free_at, number = at, i end
    end
  end
  return free_at, number
end

-- Charge the start of a call to the limits of its key. `write_limits` writes it, once for all calls of a script.
local function charge_limits(capacity, backend, key, interactive, tokens)
  local limits = load_limits(capacity, backend.name)
  local charged = capacity.charged[backend.name] or {}
  capacity.charged[backend.name] = charged
  for _, rate in ipairs(backend.rates) do
    if not (rate.others and interactive) then
      local name = key .. ' ' .. rate.name
      limits[name] = math.max(limits[name] or 0, capacity.now) + limit_cost(rate, tokens)
      charged[name] = limits[name]
    end
  end
end

local function write_limits(capacity)
  for backend, charged in pairs(capacity.charged) do
    local entries = {}
    for name, full_at in pairs(charged) do
      entries[#entries + 1] = name
      entries[#entries + 1] = string.format('%.3f', full_at)
    end
    redis.call('HSET', LIMITS .. backend, unpack(entries))
    redis.call('EXPIRE', LIMITS .. backend, LIMITS_TTL_S)
  end
end
