-- @include inbox_acknowledge
-- @include batch_fence
-- The runner of a batch renews its lease, and writes what it has done.
-- Arguments: id, directory, claim, lease_ms (0: it gives the batch up), set? (fields), status? and from? (the status, and
--   those that it may follow; its time is written), inbox, entries? ({entry, job, ...}: results that are on the disk)
-- Reply: {1 if it is still the runner, status, now}
local key = BATCH .. args.id
if not is_runner(args.id, args.directory, args.claim) then
  return {0, redis.call('HGET', key, 'status') or '', tostring(now)}
end
redis.call('ZADD', OPEN_BATCHES .. args.directory, now + args.lease_ms, args.id)
set_fields(args.id, args.set)
for _, from in ipairs(args.from or {}) do
  if redis.call('HGET', key, 'status') == from then
    redis.call('HSET', key, 'status', args.status, args.status .. '_at', ms(now))
    break
  end
end
redis.call('XLEN', INBOX .. args.inbox)  -- it is set aside if it is no stream
local entries = args.entries or {}
for i = 1, #entries, 2 do acknowledge(INBOX .. args.inbox, 'readers', entries[i], entries[i + 1]) end
return {1, redis.call('HGET', key, 'status') or '', tostring(now)}
