-- @include producer_turns
-- Repairs turns and counts after a tool of rq removed jobs from a list or a backlog.

-- Write a count of LISTED; none is written as 0.
local function set_count(queue, name, n)
  if n > 0 then redis.call('HSET', LISTED .. queue, name, n) else redis.call('HDEL', LISTED .. queue, name) end
end

-- Count the jobs of each producer in the list of a queue again. Returns the counts; nil for a list that is too long.
local MAX_READ = 100
local function recount(queue)
  local ids, counts = redis.call('LRANGE', RQ_QUEUE .. queue, 0, MAX_READ), {}
  if #ids > MAX_READ then return nil end
  for _, id in ipairs(ids) do
    local producer = redis.call('HGET', RECORD .. id, 'producer')
    if producer then counts[producer] = (counts[producer] or 0) + 1 end
  end
  for _, producer in ipairs(redis.call('HKEYS', LISTED .. queue)) do
    if producer ~= '' then set_count(queue, producer, counts[producer] or 0) end
  end
  return counts
end

-- Give a turn to each backlog whose producer has no job in the list, and count again what waits in its queue. At most
-- `limit` backlogs are examined, at random.
local function restore_turns(limit)
  local backlogs, sums = redis.call('SRANDMEMBER', BACKLOGS, limit), {}
  for i = #backlogs, 1, -1 do
    if not string.find(backlogs[i], '^' .. RQ_QUEUE .. '.*' .. BACKLOG_MARK) then
      redis.call('SREM', BACKLOGS, backlogs[i])
      note_unreadable(BACKLOGS, 'names no backlog: ' .. table.remove(backlogs, i))
    end
  end
  for _, backlog in ipairs(backlogs) do
    local queue = string.match(backlog, '^' .. RQ_QUEUE .. '(.*)' .. BACKLOG_MARK)
    local length = redis.call('LLEN', backlog)
    sums[queue] = (sums[queue] or 0) + length
    if length == 0 then forget_backlog(backlog) end
  end
  if #backlogs < limit then  -- all of them: no job of another queue waits for a turn
    for _, key in ipairs(redis.call('SRANDMEMBER', RQ_QUEUES, limit)) do
      local queue = string.sub(key, #RQ_QUEUE + 1)
      if not sums[queue] then set_count(queue, '', 0) end
    end
  end
  for queue, sum in pairs(sums) do
    if #backlogs < limit then set_count(queue, '', sum) end
    sums[queue] = sum > 0 and recount(queue) or nil
  end
  for _, backlog in ipairs(backlogs) do
    local queue = string.match(backlog, '^' .. RQ_QUEUE .. '(.*)' .. BACKLOG_MARK)
    local first = redis.call('LINDEX', backlog, 0)
    local producer = first and redis.call('HGET', RECORD .. first, 'producer')
    if producer and sums[queue] and not sums[queue][producer] then
      local entered, left = give_turn(queue, producer)
      note_unbacklogged(queue, left)
      set_count(queue, producer, entered)
    end
  end
end
