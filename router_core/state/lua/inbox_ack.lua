-- @include inbox_acknowledge
-- Acknowledge an entry of an inbox.
-- Arguments: inbox, group, entry, id
-- Reply: {1: it was there, 0: it was not}
return {acknowledge(INBOX .. args.inbox, args.group, args.entry, args.id)}
