-- A reader of an inbox is alive: the entries that it has not acknowledged stay its own. Creates the inbox if needed.
-- Arguments: inbox, group, reader, limit, after (entry id; '-': from the first)
-- Reply: the entries that are its own, oldest first
local inbox = INBOX .. args.inbox
redis.call('XLEN', inbox)  -- it is set aside if it is no stream
redis.pcall('XGROUP', 'CREATE', inbox, args.group, '0', 'MKSTREAM')
local own = {}
for i, row in ipairs(redis.call('XPENDING', inbox, args.group, args.after, '+', args.limit, args.reader)) do own[i] = row[1] end
-- XCLAIM with an idle time of 0 only restarts their idle time: no other reader takes them over, however long this one
-- needs.
if #own > 0 then
  local claim = {'XCLAIM', inbox, args.group, args.reader, 0, unpack(own)}
  claim[#claim + 1] = 'JUSTID'
  redis.call(unpack(claim))
end
return own
