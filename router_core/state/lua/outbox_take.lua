-- Hand out what is due to be posted, each entry to one poster at a time. What a poster that died had taken is due again
-- when its lease ends.
-- ARGV: clock, want, lease (ms)
-- Reply: {now, {entry, token, failed tries, first taken (ms)}...}
local now = clock()
local token = ms(now + tonumber(ARGV[3]))
local taken = {ms(now)}
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', OUTBOX, '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local key = POSTING .. entry
  redis.call('ZADD', OUTBOX, token, entry)
  redis.call('HSETNX', key, 'since', ms(now))
  redis.call('HSET', key, 'lease', token)
  local r = redis.call('HMGET', key, 'tries', 'since')
  taken[#taken + 1] = {entry, token, r[1] or '0', r[2]}
end
return taken
