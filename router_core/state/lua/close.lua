-- Close the incident of a reason when it is over: nothing falls, nothing that was released is on its way, the last fall was
-- long enough ago, and nothing is held for it; or only what no model of the catalog releases any more, and a person must.
-- ARGV: clock, reason, quiet (ms), keep (s), tell (1: an end is told), released by itself (1/0),
--   how many of the models are in the catalog, those models, then others that it has named
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
local LOOK_AT = 1000
local function for_it(key)
  local held = redis.call('ZRANGE', key, 0, LOOK_AT - 1)
  for _, one in ipairs(held) do
    if redis.call('HGET', RECORD .. one, 'held_for') == reason then return true end
  end
  return #held == LOOK_AT
end
local function will_be_released()
  if for_it(HELD_LATER) then return true end
  for i = 8, 7 + tonumber(ARGV[7]) do
    if for_it(HELD .. ARGV[i]) then return true end
  end
  return false
end
if now - tonumber(r[2] or r[3]) < tonumber(ARGV[3]) then return '' end
if tonumber(r[1] or '0') > 0 and (ARGV[6] == '0' or will_be_released()) then return '' end
if redis.call('LLEN', RQ_QUEUE .. DEGRADE) > 0 or redis.call('ZCARD', LEASES .. DEGRADE) > 0 then return '' end
for i = 8, #ARGV do
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
