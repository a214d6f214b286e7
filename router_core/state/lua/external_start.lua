-- @include breaker
-- @include capacity
-- A producer begins a call of its own, without a job: the key whose turn it is, and the epochs for its report. The call is
-- charged to the limits of its key. While every key is at a limit, no call begins.
-- Arguments: model, backend ({name, slots, keys, reserved, rates}), interactive?, tokens (an estimate)
-- Reply: {now, from when a call may begin (ms; 0: it begins now), key ('': the backend has none), epoch of the model's
--   breaker, epoch of the key's}
local backend, capacity = args.backend, load_capacity(now)
local key, slots, free_at = next_key(capacity, backend, args.model, args)
if free_at then return {tostring(now), ms(free_at), '', '0', '0'} end
if slots == 0 then key = backend.keys[1] or '' end  -- all of them are blocked: the caller wants to call all the same
note_key(capacity, backend, key)
if backend.rates[1] then charge_limits(capacity, backend, key, args.interactive, args.tokens) end
write_limits(capacity)
return {tostring(now), '0', key, redis.call('HGET', BREAKER .. backend.name .. '/' .. args.model, 'epoch') or '0',
  key ~= '' and redis.call('HGET', BREAKER .. 'key:' .. key, 'epoch') or '0'}
