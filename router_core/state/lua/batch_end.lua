-- @include batch_fence
-- @include files
-- The runner of a batch ends it. Its files are on the disk.
-- Arguments: id, directory, claim, status, set? (fields), keep_s, inbox, files (see store_file), webhook?
-- Bodies: the records of the files (JSON)
-- Reply: {1 if it was the runner}
if not is_runner(args.id, args.directory, args.claim) then return {0} end
for i, file in ipairs(args.files) do store_file(file, ARGV[2 + i]) end
set_fields(args.id, args.set)
redis.call('HSET', BATCH .. args.id, 'status', args.status, args.status .. '_at', ms(now))
redis.call('EXPIRE', BATCH .. args.id, args.keep_s)
redis.call('ZREM', OPEN_BATCHES .. args.directory, args.id)
redis.call('DEL', INBOX .. args.inbox)
if args.webhook then redis.call('ZADD', OUTBOX, now, 'batch:' .. args.id) end
return {1}
