-- What a probe came to. Only the last one handed out counts; one lost with its worker is handed out again.
-- ARGV: clock, target, token, mark ('ok', 'slow', 'failure', 'neutral', 'trip'), why, wait (ms, 429), chance, rules (JSON)
-- Reply: {the breaker's state, '' | 'no_lease'}
local now, target, mark = clock(), ARGV[2], ARGV[4]
local key = BREAKER .. target
local b = redis.call('HMGET', key, 'state', 'probe')
if b[1] ~= 'half_open' or b[2] ~= ARGV[3] then return {b[1] or 'closed', 'no_lease'} end
local rules = cjson.decode(ARGV[8])
redis.call('HDEL', key, 'probe')
if mark == 'neutral' then  -- it says nothing of the model: ask again a little later, or when a 429 allows it
  redis.call('HSET', BLOCKED, target, 'probe ' .. ms(now + math.max(1000, tonumber(ARGV[6]))))
elseif mark == 'ok' then
  if redis.call('HINCRBY', key, 'ok', 1) >= rules.probes then
    breaker_go(target, 'closed', 'its probes were answered', rules, 0, now)
  else
    redis.call('HSET', BLOCKED, target, 'probe 0')
  end
else
  breaker_go(target, 'open', 'its probe failed: ' .. ARGV[5], rules, tonumber(ARGV[7]), now)
end
return {redis.call('HGET', key, 'state'), ''}
