-- An operator's word on a breaker: 'open' (no call, no probe), 'closed' (every call, reports ignored), or 'auto' again.
-- ARGV: clock, target, how, reason, for (ms, 0: until further notice), rules (JSON)
-- Reply: {state, epoch}
local now, target, how, reason = clock(), ARGV[2], ARGV[3], ARGV[4]
local key, rules = BREAKER .. target, cjson.decode(ARGV[6])
local ends = ARGV[5] == '0' and NEVER or now + tonumber(ARGV[5])
local state = redis.call('HGET', key, 'state') or 'closed'
if how == 'auto' then
  local forced = redis.call('HGET', key, 'forced')
  redis.call('HDEL', key, 'forced')
  if state == 'open' then  -- a probe finds out
    redis.call('HSET', BLOCKED, target, 'open ' .. ms(now))
    redis.call('HSET', key, 'until', ms(now))
    if forced then redis.call('HSET', key, 'opens', 0) end
  end
else
  -- Said again, or sent again: only its reason and its end change.
  local said = state == how and string.match(redis.call('HGET', key, 'forced') or '', '^%S+') == how
  if said then redis.call('HSET', key, 'why', reason) else breaker_go(target, how, reason, rules, 0.5, now) end
  redis.call('HSET', key, 'forced', how .. ' ' .. ms(ends))
  if how == 'open' then
    redis.call('HSET', key, 'until', ms(ends))
    redis.call('HSET', BLOCKED, target, 'open ' .. ms(ends))
  else
    redis.call('HDEL', BLOCKED, target)
    redis.call('HDEL', BLOCKED, target .. ' cool')
  end
end
return {redis.call('HGET', key, 'state') or 'closed', redis.call('HGET', key, 'epoch') or '0'}
