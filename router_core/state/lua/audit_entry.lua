-- Append a line to the audit log, and let notifiers send it. Also when the memory of Redis is full: then operators act.
-- Arguments: max_entries, notifiers
-- Bodies: line (JSON)
-- Reply: its id
local id = redis.call('XADD', AUDIT_LOG, 'MAXLEN', '~', args.max_entries, '*', 'entry', ARGV[3])
for _, notifier in ipairs(args.notifiers) do
  redis.call('ZADD', OUTBOX, now, 'action:' .. notifier .. ':' .. id)
end
return id
