-- @include budget_raises
-- Raise the limit of a budget for a while, if one is named, and let held jobs that wait for one be examined again. Also when the
-- memory of Redis is full. A raise is added to those before it, each of which lasts until its own end.
-- Arguments: name?, by (nanodollars; 0 ends all raises of the budget), ends (ms)
-- Reply: what the limit is raised by now (nanodollars)
local total = 0
if args.name then
  local kept, by_now = active_raises(args.by > 0 and redis.call('HGET', BUDGET_RAISES, args.name) or '', now)
  if args.by > 0 then kept[#kept + 1] = ms(args.by) .. ' ' .. ms(args.ends) end
  total = by_now + args.by
  if kept[1] then redis.call('HSET', BUDGET_RAISES, args.name, table.concat(kept, ' ')) else redis.call('HDEL', BUDGET_RAISES, args.name) end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', HELD_LATER, now, '+inf')) do
  if redis.call('HGET', RECORD .. id, 'held_for') == 'budget' then
    redis.call('HSET', RECORD .. id, 'ready_at', ms(now))
    redis.call('ZADD', HELD_LATER, now, id)
  end
end
return ms(total)
