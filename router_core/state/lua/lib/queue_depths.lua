-- @include existing_keys
-- How many jobs wait in each of many queues, and since when the oldest does.

-- When each of some jobs was accepted (ms), by id, as the index of all jobs has it. One that is not there is read from
-- its record.
local MAX_SCORES = 1000
local function acceptances(ids)
  local accepted = {}
  for first = 1, #ids, MAX_SCORES do
    local last = math.min(first + MAX_SCORES - 1, #ids)
    local scores = redis.call('ZMSCORE', JOBS, unpack(ids, first, last))
    for i = first, last do
      local id = ids[i]
      local at = number(scores[i - first + 1] or redis.call('HGET', RECORD .. id, 'accepted'), nil)
      if at and at >= 0 then accepted[id] = at end
    end
  end
  return accepted
end

-- The first jobs of a list among which each producer's oldest is, and the number of jobs in all backlogs.
local function first_jobs(queue, length, has_producers, max_producers)
  local key, producers, backlogged = RQ_QUEUE .. queue, 1, 0
  if has_producers then
    -- A field for each producer in the list, and one for the jobs of all that are not in it.
    if length > 1 and max_producers > 1 then producers = math.max(1, redis.call('HLEN', LISTED .. queue)) end
    backlogged = math.max(0, number(redis.call('HGET', LISTED .. queue, ''), 0))
  end
  if producers == 1 then return {redis.call('LINDEX', key, 0) or nil}, backlogged end
  return redis.call('LRANGE', key, 0, math.min(max_producers, producers) - 1), backlogged
end

-- {queue = {waiting, first (ms; nil: not known)}} of the queues in which jobs wait. `max_producers`: jobs of a queue that
-- are compared for the oldest.
local function read_depths(queues, max_producers)
  local queued, listed, depths, firsts, ids = existing(RQ_QUEUE, queues), nil, {}, {}, {}
  local names = {}
  for _, queue in ipairs(queues) do
    if queued[queue] then names[#names + 1] = queue end
  end
  listed = existing(LISTED, names)
  for _, queue in ipairs(names) do
    local length = redis.call('LLEN', RQ_QUEUE .. queue)
    if length > 0 then
      local first, backlogged = first_jobs(queue, length, listed[queue], max_producers)
      depths[queue], firsts[queue] = {waiting = length + backlogged}, first
      for _, id in ipairs(first) do ids[#ids + 1] = id end
    end
  end
  local accepted = acceptances(ids)
  for queue, first in pairs(firsts) do
    for _, id in ipairs(first) do
      local at, depth = accepted[id], depths[queue]
      if at and (not depth.first or at < depth.first) then depth.first = at end
    end
  end
  return depths
end
