-- Close the incident of a reason when it is over: nothing is held for it, nothing falls, nothing that was released is on
-- its way, and the last fall was long enough ago.
-- ARGV: clock, reason, quiet (ms), keep (s), tell (1: an end is told), model...
-- Reply: its id, or '' when there is none or it goes on
local now, reason = clock(), ARGV[2]
local id = redis.call('HGET', INCIDENTS, reason)
if not id then return '' end
local incident = INCIDENT .. id
local r = redis.call('HMGET', incident, 'held', 'last', 'began', 'notify')
if not r[3] then  -- somebody deleted it
  redis.call('HDEL', INCIDENTS, reason)
  return ''
end
if tonumber(r[1] or '0') > 0 or now - tonumber(r[2] or r[3]) < tonumber(ARGV[3]) then return '' end
if redis.call('LLEN', RQ_QUEUE .. DEGRADE) > 0 or redis.call('ZCARD', LEASES .. DEGRADE) > 0 then return '' end
for i = 6, #ARGV do
  if redis.call('ZCARD', RELEASED .. ARGV[i]) > 0 then return '' end
end
redis.call('HSET', incident, 'ended', ms(now))
redis.call('HINCRBY', incident, 'version', 1)
redis.call('EXPIRE', incident, ARGV[4])
redis.call('HDEL', INCIDENTS, reason)
if ARGV[5] == '1' then
  for notifier in string.gmatch(r[4] or '', '[^,]+') do
    local about = 'notice:' .. notifier .. ':' .. id
    if redis.call('HEXISTS', incident, 'told:' .. notifier) == 1 or redis.call('ZSCORE', OUTBOX, about .. ':began') then
      redis.call('ZADD', OUTBOX, 'NX', now, about .. ':recovered')
    end
  end
end
return id
