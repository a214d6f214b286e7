-- A reader of an inbox is alive: what it was given and has not acknowledged stays its own. Makes the inbox if need be.
-- ARGV: clock, inbox, reader, most, after which entry ('-': from the first)
-- Reply: the entries that are its own, oldest first
local inbox, reader = INBOX .. ARGV[2], ARGV[3]
redis.pcall('XGROUP', 'CREATE', inbox, 'readers', '0', 'MKSTREAM')
local own = {}
for i, row in ipairs(redis.call('XPENDING', inbox, 'readers', ARGV[5], '+', ARGV[4], reader)) do own[i] = row[1] end
-- Only their idle time begins anew: nobody takes over what its reader has, however long that takes.
if #own > 0 then
  local call = {'XCLAIM', inbox, 'readers', reader, 0, unpack(own)}
  call[#call + 1] = 'JUSTID'
  redis.call(unpack(call))
end
return own
