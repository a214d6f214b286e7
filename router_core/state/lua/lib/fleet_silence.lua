-- @include clock_set_back
-- Silence: no worker has beaten for `silence.after_ms`. Then Redis was away, not the workers: none could beat. Every
-- lease and every presence is extended by the length of the silence and by `silence.grace_ms` for spooled settles. So
-- no outage is taken for a crash, and a worker that died before or in it is found as soon after it as without it. A gateway
-- gets `silence.caller_lease_ms` to say which callers still wait.
local function end_silence(silence, now)
  local beat = redis.call('GET', LAST_BEAT)
  local last = number(beat, now)
  if beat and not number(beat) then note_unreadable(LAST_BEAT, 'is no moment') end
  redis.call('SET', LAST_BEAT, ms(now))
  if last - now > silence.after_ms then set_clock_back(last - now, silence, now) end
  if now - last <= silence.after_ms then return false end
  local keys, latest = {PRESENCE}, now + silence.lease_ms + silence.grace_ms  -- the last beat may be one that none wrote
  for _, backend in ipairs(redis.call('SMEMBERS', BACKENDS)) do keys[#keys + 1] = LEASES .. backend end
  for _, key in ipairs(keys) do
    local ends_at = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #ends_at, 2 do
      redis.call('ZADD', key, math.min(ends_at[i + 1] + now - last + silence.grace_ms, latest), ends_at[i])
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', CALLER_LEASES, '-inf', now + silence.caller_lease_ms)) do
    redis.call('ZADD', CALLER_LEASES, now + silence.caller_lease_ms, id)
  end
  count('silences')
  return true
end
