-- Take a lock of the fleet for some ms; false: another worker has it. A lock that ends later than one taken now counts as
-- none: another program wrote it, or the clock was set back. It would hold for too long.
local function take_lock(name, ttl_ms)
  local rest_ms = redis.call('PTTL', LOCK .. name)
  if rest_ms > 0 and rest_ms <= ttl_ms then return false end
  redis.call('SET', LOCK .. name, 1, 'PX', ttl_ms)
  return true
end
