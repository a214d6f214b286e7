-- Check, once for the whole fleet, whether the memory of Redis runs out. While more of it is used than may be, no job
-- is accepted. This must begin before Redis itself refuses to write, and must work even then.
-- Arguments: max_share (of `maxmemory`), check_ms (how long one check is good), pressure_ms (how long a refusal lasts)
-- A user without the right to INFO checks nothing: the check of the server names the right.
-- Reply: why no job is accepted from now on; '' when jobs are accepted, or when it was reported before
local lock = LOCK .. 'pressure'
if redis.call('PTTL', lock) > 0 then return '' end  -- without an end it is no lock
redis.call('SET', lock, 1, 'PX', args.check_ms)
if redis.call('PTTL', MEMORY_PRESSURE) == -1 then  -- a refusal that has no end is none of ours
  redis.call('DEL', MEMORY_PRESSURE)
  note_unreadable(MEMORY_PRESSURE, 'has no end')
end
local info = redis.pcall('INFO', 'memory')
if type(info) ~= 'string' then return '' end
local used = tonumber(string.match(info, 'used_memory:(%d+)'))
local max = tonumber(string.match(info, '[\r\n]maxmemory:(%d+)'))
if max == 0 or used <= max * args.max_share then
  redis.call('DEL', MEMORY_PRESSURE)
  return ''
end
local why = string.format('Redis uses %.0f MiB of its %.0f MiB of memory (maxmemory)', used / 2 ^ 20, max / 2 ^ 20)
local reported = redis.call('EXISTS', MEMORY_PRESSURE) == 1
redis.call('SET', MEMORY_PRESSURE, why, 'PX', args.pressure_ms)
return reported and '' or why
