-- @include breaker
-- @include capacity
-- A producer begins a call of its own, without a job: the key whose turn it is, and the epochs for its report.
-- Arguments: model, backend ({name, slots, keys, reserved})
-- Reply: {key ('': the backend has none), epoch of the model's breaker, epoch of the key's}
local backend, capacity = args.backend, load_capacity(now)
local key = next_key(capacity, backend, args.model)
if key == '' then key = backend.keys[1] or '' end  -- all of them are blocked: the caller wants to call all the same
note_key(capacity, backend, key)
return {key, redis.call('HGET', BREAKER .. backend.name .. '/' .. args.model, 'epoch') or '0',
  key ~= '' and redis.call('HGET', BREAKER .. 'key:' .. key, 'epoch') or '0'}
