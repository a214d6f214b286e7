-- @include acceptance_refusal
-- What changes at once when something in the fleet goes wrong, or is well again: blocks and breakers, pauses, workers, held jobs.
-- A program that shows the fleet reads the rest only when this has changed, or after a while. Changes nothing.
-- Arguments: none
-- Reply: a text; two that are equal say that nothing has changed
local parts = redis.call('HGETALL', BLOCKED)
local paused = {}
for name in pairs(read_paused()) do paused[#paused + 1] = name end
table.sort(paused)
for _, part in ipairs({table.concat(paused, ','), redis.call('LINDEX', BREAKER_HISTORY, 0) or '',
  redis.call('LLEN', RQ_QUEUE .. DEGRADE), redis.call('ZCARD', RQ_DEFERRED .. DEGRADE),
  redis.call('ZCOUNT', PRESENCE, '(' .. now, '+inf'), refusal() or '',
  redis.call('EXISTS', RQ_SUSPENDED), redis.call('EXISTS', LOST_WRITES)}) do parts[#parts + 1] = part end
return table.concat(parts, '\n')
