-- @include lock
-- Check, once for the whole fleet, whether the memory of Redis runs out. While more of it is used than may be, no job
-- is accepted. This must begin before Redis itself refuses to write, and must work even then.
-- Arguments: max_share (of `maxmemory`), check_ms (how long one check is good), pressure_ms (how long a refusal lasts)
-- A user without the right to INFO checks nothing: the check of the server names the right.
-- Reply: why no job is accepted from now on; '' when jobs are accepted, or when it was reported before
if not take_lock('pressure', args.check_ms) then return '' end
local rest_ms = redis.call('PTTL', MEMORY_PRESSURE)
if rest_ms == -1 or rest_ms > args.pressure_ms then  -- a refusal without such an end is none of ours
  redis.call('DEL', MEMORY_PRESSURE)
  note_unreadable(MEMORY_PRESSURE, rest_ms == -1 and 'has no end' or 'ends too late')
end
local info = redis.pcall('INFO', 'memory')
if type(info) ~= 'string' then return '' end
local used = tonumber(string.match(info, 'used_memory:(%d+)'))
local max = tonumber(string.match(info, '[\r\n]maxmemory:(%d+)'))
if max == 0 or used <= max * args.max_share then
  redis.call('DEL', MEMORY_PRESSURE, MEMORY_PRESSURE_SINCE)
  return ''
end
local why = string.format('Redis uses %.0f MiB of its %.0f MiB of memory (maxmemory)', used / 2 ^ 20, max / 2 ^ 20)
local reported = redis.call('EXISTS', MEMORY_PRESSURE) == 1
redis.call('SET', MEMORY_PRESSURE, why, 'PX', args.pressure_ms)
local refusals = redis.call('GET', MEMORY_PRESSURE_SINCE)
local since, before = string.match(refusals or '', '^(%d+) %d+ (%d+)$')
if refusals and not since then note_unreadable(MEMORY_PRESSURE_SINCE, 'has another shape') end
if not since then since, before = ms(now), number(redis.call('HGET', COUNTERS, 'refused_memory'), 0) end
redis.call('SET', MEMORY_PRESSURE_SINCE, string.format('%s %.0f %d', since, max, before), 'PX', args.pressure_ms)
return reported and '' or why
