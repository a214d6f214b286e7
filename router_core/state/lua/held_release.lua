-- @include budget_reserve
-- @include fall_and_release
-- @include lifecycle
-- @include hold_and_incident
-- Release held jobs to models that take calls now: `first` at once, one more for each that was answered. The most
-- urgent first, then the oldest. Each starts its chain again.
-- Arguments: first, budgets ({model, pool, max_jobs, urgencies that may be released, backend of the model or null}...)
-- Bodies: budgets of money ('' or JSON: see budget_book.py)
-- Reply: {id, queue}...
local MAX_READY, MAX_CHECKED = 256, 64
local reply, has_budgets = {}, ARGV[3] ~= ''
if has_budgets then budgeting.open(decode_once(ARGV[3]), now) end

-- A job is in HELD_LATER until its models may release it, and then until its late models may.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', HELD_LATER, '-inf', now, 'LIMIT', 0, MAX_READY)) do
  redis.call('ZREM', HELD_LATER, id)
  local job = fields(RECORD .. id, 'state', 'held_by', 'fell_from', 'accepted', 'late_by', 'late_at')
  if job.state == 'held' then
    if job.late_by and number(job.late_at, now) > now then
      redis.call('ZADD', HELD_LATER, job.late_at, id)
    elseif job.late_by then
      job.held_by = (job.held_by or '') == '' and job.late_by or job.held_by .. ',' .. job.late_by
      redis.call('HSET', RECORD .. id, 'held_by', job.held_by)
      redis.call('HDEL', RECORD .. id, 'late_by', 'late_at')
    end
    for model in string.gmatch(job.held_by or '', '[^,]+') do
      redis.call('ZADD', HELD .. model, hold_order(job.fell_from or DEGRADE, job.accepted), id)
    end
  end
end

local function release(id, model, queue)
  unhold(id, now, 'replayed')
  redis.call('ZADD', RELEASED .. model, now, id)
  redis.call('HSET', RECORD .. id, 'released', model)
  requeue_fresh(id, queue, true, 'released: ' .. model .. ' takes calls again', now, false)
  count('released')
  metrics.add_event('replayed release', now)
  reply[#reply + 1] = {id, queue}
end

-- Whether a job that fell for a budget does not fit yet. Then it is looked at again when the budget resets: it costs no
-- claim, no fall and no settle. What is reserved here is never written: the claim reserves.
local function stays_held(id, budget, urgency)
  if not has_budgets or type(budget.backend) ~= 'table' or not budget.backend.budgets[1] then return false end
  local job = fields(RECORD .. id, 'held_for', 'held_by', 'bound', 'group', 'producer')
  if job.held_for ~= 'budget' then return false end
  local reserve, over = budgeting.reserve(budget.backend, urgency == 'interactive', job)
  if reserve then return false end
  for model in string.gmatch(job.held_by or '', '[^,]+') do redis.call('ZREM', HELD .. model, id) end
  redis.call('HSET', RECORD .. id, 'ready_at', ms(over.ends))
  redis.call('ZADD', HELD_LATER, over.ends, id)
  return true
end

-- The first `room` held jobs of the urgencies that may be released, in the order of `hold_order`.
local function first_held(model, room, urgencies, budget)
  local chosen = {}
  for _, urgency in ipairs(urgencies) do
    local from, free = hold_order(urgency, 0), room - #chosen
    if free > 0 then
      for _, id in ipairs(redis.call('ZRANGEBYSCORE', HELD .. model, from, '(' .. from + 1e13, 'LIMIT', 0, free + MAX_CHECKED)) do
        if #chosen >= room then break end
        if redis.call('HGET', RECORD .. id, 'state') == 'held' then
          if not stays_held(id, budget, urgency) then chosen[#chosen + 1] = {id, urgency} end
        else
          redis.call('ZREM', HELD .. model, id)
        end
      end
    end
  end
  return chosen
end

for _, budget in ipairs(args.budgets) do
  local model = budget.model
  if redis.call('EXISTS', HELD .. model) == 1 then
    remove_lost_releases(model)
    local window = math.min(budget.max_jobs, args.first + number(redis.call('HGET', RELEASE_WINDOW, model), 0))
    local chosen = first_held(model, window - redis.call('ZCARD', RELEASED .. model), budget.urgencies, budget)
    for n = #chosen, 1, -1 do  -- each goes to the front: the last first
      release(chosen[n][1], model, budget.pool .. '.' .. model .. '.' .. chosen[n][2])
    end
  end
end
return reply
