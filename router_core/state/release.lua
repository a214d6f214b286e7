-- Let held jobs back to the models that take calls now: a few at first, one more for each that was answered.
-- The most urgent first, then the oldest. Each begins its chain anew.
-- ARGV: clock, first, then for each model: alias, pool, most, urgencies that may be released (comma list)
-- Reply: {id, queue}...
local now, first, WIDTH = clock(), tonumber(ARGV[2]), 4
local SCAN = 64  -- how far behind the first one that must wait for another reason is looked
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
  for _, id in ipairs(redis.call('ZRANGE', RELEASED .. alias, 0, 9)) do
    local r = redis.call('HMGET', RECORD .. id, 'state', 'released')
    if r[2] ~= alias or r[1] == 'done' then redis.call('ZREM', RELEASED .. alias, id) end
  end
end

for i = 3, #ARGV, WIDTH do
  local alias, pool, most, urgencies = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ',' .. ARGV[i + 3] .. ','
  local held = redis.call('ZRANGE', HELD .. alias, 0, SCAN - 1)
  if #held > 0 then
    forget_lost(alias)
    local window = math.min(most, first + tonumber(redis.call('HGET', RELEASE, alias) or 0))
    local room, chosen = window - redis.call('ZCARD', RELEASED .. alias), {}
    for _, id in ipairs(held) do
      local r = redis.call('HMGET', RECORD .. id, 'state', 'fell_from')
      local urgency = urgency_of(r[2] or '')
      if r[1] ~= 'held' then redis.call('ZREM', HELD .. alias, id)
      elseif #chosen < room and string.find(urgencies, ',' .. urgency .. ',', 1, true) then
        chosen[#chosen + 1] = {id, alias, pool .. '.' .. alias .. '.' .. urgency}
      end
    end
    for n = #chosen, 1, -1 do let_go(unpack(chosen[n])) end  -- each goes to the front: the last first
  end
end
return reply
