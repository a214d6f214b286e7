-- Raise the limit of a budget for a while, if one is named, and let held jobs that wait for one be examined again. Also when the
-- memory of Redis is full.
-- Arguments: name?, by (nanodollars), ends (ms)
-- Reply: how many held jobs are examined
if args.name then redis.call('HSET', BUDGET_RAISES, args.name, string.format('%.0f %.0f', args.by, args.ends)) end
local examined = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', HELD_LATER, now, '+inf')) do
  if redis.call('HGET', RECORD .. id, 'held_for') == 'budget' then
    redis.call('HSET', RECORD .. id, 'ready_at', ms(now))
    redis.call('ZADD', HELD_LATER, now, id)
    examined = examined + 1
  end
end
return examined
