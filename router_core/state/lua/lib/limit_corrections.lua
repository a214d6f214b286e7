-- When a bucket is full again. A value beyond any limit's time cannot be read: its bucket is full now.
local MAX_BUCKET_MS = 3600000
local function bucket_full_at(text, now)
  local full_at = number(text)
  return full_at and full_at <= now + MAX_BUCKET_MS and full_at or nil
end

-- Move the buckets of a backend after a call, by milliseconds: what the provider counted differs from the estimate.
local function correct_limits(backend, moved, now)
  for name, by in pairs(moved) do
    local full_at = bucket_full_at(redis.call('HGET', LIMITS .. backend, name), now)
    if full_at then
      if by > 0 then full_at = math.max(full_at, now) end
      redis.call('HSET', LIMITS .. backend, name, string.format('%.3f', full_at + by))
    end
  end
end
