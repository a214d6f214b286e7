-- Batches of the HTTP gateway. Only the runner that claimed a batch last may write to it: the number of its claim is the fence.

-- Set fields of a batch, from an object of arguments.
local function set_fields(id, values)
  for name, value in pairs(values or {}) do redis.call('HSET', BATCH .. id, name, value) end
end

-- Whether this claim is the last one of a batch that has not ended.
local function is_runner(id, directory, claim)
  return redis.call('HGET', BATCH .. id, 'claim') == tostring(claim) and redis.call('ZSCORE', OPEN_BATCHES .. directory, id)
end
