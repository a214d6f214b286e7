-- @include clock_set_back
-- Claim outbox entries that are due, each for one dispatcher at a time. An entry of a dispatcher that died is due again
-- when its lease ends.
-- Arguments: limit, lease_ms
-- Reply: {now, {entry, token, failed tries, first claimed at (ms)}...}
local token = ms(now + args.lease_ms)
local reply = {ms(now)}
end_leases_within(OUTBOX, now + DAY_MS)  -- no try is put off for longer
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', OUTBOX, '-inf', now, 'LIMIT', 0, args.limit)) do
  local key = OUTBOX_ENTRY .. entry
  if string.find(entry, '^[\33-\126]+$') then  -- a newer openfall may have kinds that this one does not know
    redis.call('ZADD', OUTBOX, token, entry)
    redis.call('HSETNX', key, 'since', ms(now))
    redis.call('HSET', key, 'lease', token)
    local row = fields(key, 'tries', 'since')
    reply[#reply + 1] = {entry, token, row.tries or '0', row.since or ms(now)}
  else
    redis.call('ZREM', OUTBOX, entry)
    redis.call('DEL', key)
    note_unreadable(OUTBOX, 'names no entry')
  end
end
return reply
