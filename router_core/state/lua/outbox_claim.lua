-- Claim outbox entries that are due, each for one dispatcher at a time. An entry of a dispatcher that died is due again
-- when its lease ends.
-- Arguments: limit, lease_ms
-- Reply: {now, {entry, token, failed tries, first claimed at (ms)}...}
local token = ms(now + args.lease_ms)
local reply = {ms(now)}
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', OUTBOX, '-inf', now, 'LIMIT', 0, args.limit)) do
  local key = OUTBOX_ENTRY .. entry
  redis.call('ZADD', OUTBOX, token, entry)
  redis.call('HSETNX', key, 'since', ms(now))
  redis.call('HSET', key, 'lease', token)
  local row = fields(key, 'tries', 'since')
  reply[#reply + 1] = {entry, token, row.tries or '0', row.since or ms(now)}
end
return reply
