-- Let held jobs back to the models that take calls now: a few at first, one more for each that was answered.
-- The most urgent first, then the oldest. Each begins its chain anew.
-- ARGV: clock, first, then for each model: alias, pool, most, urgencies that may be released (comma list)
-- Reply: {id, queue}...
local now, first, WIDTH = clock(), tonumber(ARGV[2]), 4
local reply = {}

for _, id in ipairs(redis.call('ZRANGEBYSCORE', HELD_LATER, '-inf', now, 'LIMIT', 0, 256)) do
  redis.call('ZREM', HELD_LATER, id)
  local r = redis.call('HMGET', RECORD .. id, 'state', 'held_by', 'fell_from', 'accepted')
  if r[1] == 'held' then
    for model in string.gmatch(r[2], '[^,]+') do redis.call('ZADD', HELD .. model, hold_order(r[3], r[4]), id) end
  end
end

local function let_go(id, alias, queue)
  unhold(id, now, 'replayed')
  redis.call('ZADD', RELEASED .. alias, now, id)
  redis.call('HSET', RECORD .. id, 'released', alias)
  renew(id, queue, true, 'released: ' .. alias .. ' takes calls again', now, false)
  count('released')
  reply[#reply + 1] = {id, queue}
end

-- One that is not on its way any more, whatever became of it, keeps nobody waiting.
local function forget_lost(alias)
  for _, id in ipairs(redis.call('ZRANGE', RELEASED .. alias, 0, 63)) do
    local r = redis.call('HMGET', RECORD .. id, 'state', 'released')
    if r[2] ~= alias or r[1] == 'done' then redis.call('ZREM', RELEASED .. alias, id) end
  end
end

-- The first `room` of those whose urgency may be released, in the order of `hold_order`.
local function first_of(alias, room, urgencies)
  local chosen = {}
  for _, urgency in ipairs({'interactive', 'background', 'batch'}) do
    local from, left = hold_order(urgency, 0), room - #chosen
    if left > 0 and string.find(urgencies, ',' .. urgency .. ',', 1, true) then
      for _, id in ipairs(redis.call('ZRANGEBYSCORE', HELD .. alias, from, '(' .. from + 1e13, 'LIMIT', 0, left)) do
        if redis.call('HGET', RECORD .. id, 'state') == 'held' then chosen[#chosen + 1] = {id, urgency}
        else redis.call('ZREM', HELD .. alias, id) end
      end
    end
  end
  return chosen
end

for i = 3, #ARGV, WIDTH do
  local alias, pool, most, urgencies = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ',' .. ARGV[i + 3] .. ','
  if redis.call('EXISTS', HELD .. alias) == 1 then
    forget_lost(alias)
    local window = math.min(most, first + tonumber(redis.call('HGET', RELEASE, alias) or 0))
    local chosen = first_of(alias, window - redis.call('ZCARD', RELEASED .. alias), urgencies)
    for n = #chosen, 1, -1 do  -- each goes to the front: the last first
      let_go(chosen[n][1], alias, pool .. '.' .. alias .. '.' .. chosen[n][2])
    end
  end
end
return reply
