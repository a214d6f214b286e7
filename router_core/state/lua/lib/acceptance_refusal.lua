-- Why no job is accepted; nil: jobs are. A refusal without an end is none of ours: it would last for ever.
local function refusal()
  local why = redis.call('GET', MEMORY_PRESSURE)
  return why and redis.call('PTTL', MEMORY_PRESSURE) > 0 and why or nil
end
