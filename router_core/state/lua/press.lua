-- Look for the whole fleet whether the memory of Redis runs out: while more of it is used than may be, nothing is accepted.
-- It must say so before Redis itself refuses to write, and also when it does.
-- ARGV: clock, share of `maxmemory` that may be used, ms for which one look is good, ms for which a refusal lasts
-- Reply: why nothing is accepted from now on ('': it is, or it was said before)
local LOOK = LOOKING .. 'pressure'
if redis.call('EXISTS', LOOK) == 1 then return '' end
redis.call('SET', LOOK, 1, 'PX', ARGV[3])
local told = redis.call('INFO', 'memory')
local used = tonumber(string.match(told, 'used_memory:(%d+)'))
local most = tonumber(string.match(told, '[\r\n]maxmemory:(%d+)'))
if most == 0 or used <= most * tonumber(ARGV[2]) then
  redis.call('DEL', PRESSURE)
  return ''
end
local why = string.format('Redis uses %.0f MiB of its %.0f MiB of memory (maxmemory)', used / 2 ^ 20, most / 2 ^ 20)
local said = redis.call('EXISTS', PRESSURE) == 1
redis.call('SET', PRESSURE, why, 'PX', ARGV[4])
return said and '' or why
