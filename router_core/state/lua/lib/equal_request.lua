-- A caller that lost its connection sends the same request again: it gets its job, which may have its answer by now. While a
-- gateway says that a caller waits for an equal request, that gateway must be asked first. Else the request is a new job.

-- `repeats`: the key with the jobs of equal requests, the latest first. `args`: those of accept.lua.
-- The reply of accept.lua, 'joined' or 'awaited'; nil: a new job. Then the jobs that may be joined one day.
local function join_equal_request(repeats, args, now)
  local earlier, left, awaited = {}, {}, {'awaited'}
  for _, other in ipairs(args.left_jobs or {}) do left[other[1]] = other[2] end
  for other in string.gmatch(redis.call('GET', repeats) or '', '%S+') do
    local job = fields(RECORD .. other, 'deadline', 'gateway', 'left', 'read', 'state', 'status')
    if string.find(other, '[^\33-\126]') then note_unreadable(repeats, 'names no job') end
    local present_ms = job.gateway and number(redis.call('ZSCORE', GATEWAYS, job.gateway), 0) - now or 0
    local has_caller = present_ms > 0 and left[other] ~= job.gateway
    local useful = job.state ~= 'done' or job.status == 'answered' or job.status == 'degraded'
    if job.deadline and not job.left and not job.read and useful then
      if not has_caller then
        redis.call('HSET', RECORD .. other, 'gateway', args.gateway)
        if args.caller_lease_ms then redis.call('ZADD', CALLER_LEASES, 'XX', now + args.caller_lease_ms, other) end
        return {'joined', other, job.deadline, 0}
      end
      awaited[#awaited + 1] = {other, job.gateway, ms(present_ms)}
      if #earlier < args.max_repeats then earlier[#earlier + 1] = other end
    end
  end
  if #awaited > 1 and not args.is_new then return awaited end
  return nil, earlier
end
