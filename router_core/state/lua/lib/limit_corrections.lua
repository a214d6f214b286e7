-- Move the buckets of a backend after a call, by milliseconds: what the provider counted differs from the estimate.
local function correct_limits(backend, moved, now)
  for name, by in pairs(moved) do
    local full_at = tonumber(redis.call('HGET', LIMITS .. backend, name) or nil)
    if full_at then
      if by > 0 then full_at = math.max(full_at, now) end
      redis.call('HSET', LIMITS .. backend, name, string.format('%.3f', full_at + by))
    end
  end
end
