-- @include fall_and_release
-- @include hold_and_incident
-- Note that something which is no fall of a job goes on: open its incident, or keep it open.
-- Arguments: reason, counts (fields of a new incident that are 1), notify (its notifiers), values? (fields as they are now)
-- Reply: its id
local incident, is_new = open_incident(args.reason, args.notify, now)
redis.call('HSET', INCIDENT .. incident, 'last', ms(now))
if is_new then
  for _, counter in ipairs(args.counts) do redis.call('HINCRBY', INCIDENT .. incident, counter, 1) end
end
for field, value in pairs(args.values or {}) do redis.call('HSET', INCIDENT .. incident, field, ms(value)) end
return incident
