-- @include breaker
-- An operator overrides a breaker: 'open' (no call, no probe), 'closed' (every call, reports ignored), or 'auto' again.
-- Arguments: target, state, why, duration_ms? (absent: until further notice)
-- Bodies: breaker policy (JSON)
-- Reply: {state, epoch}
local target, key = args.target, BREAKER .. args.target
local ends_at = args.duration_ms and now + args.duration_ms or NEVER
local breaker = fields(key, 'state', 'forced')
local state = breaker.state or 'closed'
if args.state == 'auto' then
  redis.call('HDEL', key, 'forced')
  if state == 'open' then  -- it is probed at once
    redis.call('HSET', BLOCKED, target, 'open ' .. ms(now))
    redis.call('HSET', key, 'until', ms(now))
    if breaker.forced then redis.call('HSET', key, 'open_count', 0) end
  end
else
  -- Forced to the same state again, or sent again: only its reason and its end change.
  if state == args.state and string.match(breaker.forced or '', '^%S+') == state then
    redis.call('HSET', key, 'why', args.why)
  else
    breaker_change(target, args.state, args.why, decode_once(ARGV[3]), 0.5, now)
  end
  if args.state == 'open' then note_cause(target, {cause = 'forced open'}) end
  redis.call('HSET', key, 'forced', args.state .. ' ' .. ms(ends_at))
  if args.state == 'open' then
    redis.call('HSET', key, 'until', ms(ends_at))
    redis.call('HSET', BLOCKED, target, 'open ' .. ms(ends_at))
  else
    redis.call('HDEL', BLOCKED, target, target .. ' cool')
    for _, name in ipairs(redis.call('HKEYS', BLOCKED)) do  -- the cooldowns of single keys
      if string.sub(name, 1, #target + 1) == target .. '#' then redis.call('HDEL', BLOCKED, name) end
    end
  end
end
return {redis.call('HGET', key, 'state') or 'closed', redis.call('HGET', key, 'epoch') or '0'}
