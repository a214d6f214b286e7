-- The jobs that wait in a queue. The producers of a queue take turns (round robin), so that the many jobs of one do not
-- stand before the one job of another.
-- A queue with one producer is one list, first in, first out. As soon as a second producer waits too, the list holds the
-- next job of each producer, in the order of their turns, and each further job waits in its producer's backlog: a list of
-- its own, which rq's tools show as a queue. When the job of a producer leaves the list, its next one enters at the tail.
-- Jobs at the front of the list (retries, hand-offs, releases) come before all turns.
-- WAITING .. queue has the number of waiting jobs of each producer, and of all of them in the field ''. A job counts
-- from the moment when its record has the state `queued` until it has another.

-- One entry wakes one waiting worker. A few are enough for a burst, since a claim takes many jobs.
local MAX_WAKEUPS = 4
local function wake_worker(queue)
  if redis.call('LLEN', WAKEUP .. queue) < MAX_WAKEUPS then redis.call('RPUSH', WAKEUP .. queue, '1') end
end

-- The list of a producer's backlog. A producer's name may have any character; that of a queue stays readable in a URL.
local function backlog_of(queue, producer)
  local name = string.gsub(producer, '[^%w@_.-]', function(c) return string.format('=%02X', string.byte(c)) end)
  return RQ_QUEUE .. queue .. BACKLOG_MARK .. name
end

local function register_backlog(backlog)
  redis.call('SADD', BACKLOGS, backlog)
  redis.call('SADD', RQ_QUEUES, backlog)
end

local function forget_backlog(backlog)
  redis.call('SREM', BACKLOGS, backlog)
  redis.call('SREM', RQ_QUEUES, backlog)
end

-- How many jobs of a producer wait in a queue, and how many of all producers.
local function count_waiting(queue, producer)
  local counts = redis.call('HMGET', WAITING .. queue, producer, '')
  return tonumber(counts[1] or 0), tonumber(counts[2] or 0)
end

-- The position that the next job of a producer gets in the order of the claims: in each round each producer has a turn.
-- `own` and `all`: see `count_waiting`.
local function next_position(queue, own, all)
  if own == all then return all + 1 end
  local producers = redis.call('HLEN', WAITING .. queue) - (own > 0 and 1 or 0)
  return math.min(all + 1, (own + 1) * producers)
end

-- Give a backlog its turn: its next job enters the list at the tail. Ids that are there by error, or that rq's own tools
-- have cancelled, are dropped: the sweep looks after them. Jobs of plain rq take no turn. Returns how many ids entered.
local MAX_DROPPED = 100
local function give_turn(queue, backlog)
  local entered = 0
  for _ = 1, MAX_DROPPED do
    local id = redis.call('LPOP', backlog)
    if not id then break end
    local job = fields(RECORD .. id, 'state', 'queue')
    local is_ours = job.state == 'queued' and job.queue == queue
    if not job.state or (is_ours and redis.call('HGET', RQ_JOB .. id, 'status') == 'queued') then
      redis.call('RPUSH', RQ_QUEUE .. queue, id)
      entered = entered + 1
      if is_ours then break end
    end
  end
  if redis.call('EXISTS', backlog) == 0 then forget_backlog(backlog) end
  return entered
end

-- A second producer enters a queue: the jobs of the first become its backlog, and the first of them has its turn.
local function begin_turns(queue, newcomer)
  local list, producers = RQ_QUEUE .. queue, redis.call('HLEN', WAITING .. queue) - 1
  if producers ~= 2 or redis.call('LLEN', list) < 2 then return end
  for _, producer in ipairs(redis.call('HKEYS', WAITING .. queue)) do
    local backlog = backlog_of(queue, producer)
    if producer ~= '' and producer ~= newcomer and redis.call('RENAMENX', list, backlog) == 1 then
      register_backlog(backlog)
      give_turn(queue, backlog)
      return
    end
  end
end

-- Add a job of a producer that has `own` of `all` waiting jobs, at the tail or at the front of the list.
local function add_waiting(id, queue, producer, at_front, own, all)
  redis.call('HSET', WAITING .. queue, producer, own + 1, '', all + 1)
  if own == 0 and all > 1 then begin_turns(queue, producer) end
  if at_front then
    redis.call('LPUSH', RQ_QUEUE .. queue, id)
  elseif own == 0 then
    redis.call('RPUSH', RQ_QUEUE .. queue, id)
  else
    local backlog = backlog_of(queue, producer)
    if own == all and redis.call('EXISTS', backlog) == 0 then
      redis.call('RPUSH', RQ_QUEUE .. queue, id)
    elseif redis.call('RPUSH', backlog, id) == 1 then
      register_backlog(backlog)
    end
  end
end

-- Note that `n` jobs of a producer have left a queue. If none of its jobs is in the list now, its backlog has a turn.
-- Returns how many ids entered the list.
local function note_left(queue, producer, n)
  local key, own, all = WAITING .. queue, count_waiting(queue, producer)
  own, all = own - n, all - n
  if all < 1 then
    redis.call('DEL', key)
  elseif own < 1 then
    redis.call('HDEL', key, producer)
    redis.call('HSET', key, '', all)
  else
    redis.call('HSET', key, producer, own, '', all)
  end
  local backlog = backlog_of(queue, producer)
  local length = redis.call('LLEN', backlog)
  if length == 0 or own > length then return 0 end
  return give_turn(queue, backlog)
end

-- Take a job out of the list or the backlog where it waits. A reaped job is at the head of its list, where LREM finds it
-- at once.
local function leave_queue(id, queue)
  local producer = redis.call('HGET', RECORD .. id, 'producer')
  if redis.call('LREM', RQ_QUEUE .. queue, 1, id) == 0 then
    local backlog = backlog_of(queue, producer)
    if redis.call('LREM', backlog, 1, id) == 1 and redis.call('EXISTS', backlog) == 0 then forget_backlog(backlog) end
  end
  note_left(queue, producer, 1)
end

-- The first jobs of a queue, at most `limit`: those in its list, then those in backlogs.
local function first_waiting(queue, limit)
  local ids = redis.call('LRANGE', RQ_QUEUE .. queue, 0, limit - 1)
  for _, producer in ipairs(redis.call('HKEYS', WAITING .. queue)) do
    if #ids >= limit then break end
    for _, id in ipairs(redis.call('LRANGE', backlog_of(queue, producer), 0, limit - #ids - 1)) do ids[#ids + 1] = id end
  end
  return ids
end

-- Give a turn to each backlog whose producer has no job in the list, because a tool of rq removed it. At most `limit`
-- backlogs are examined, at random, and only lists of at most `max_length`.
local function restore_turns(limit, max_length)
  local listed = {}  -- by queue: its list's ids, and the backlogs of their producers
  for _, backlog in ipairs(redis.call('SRANDMEMBER', BACKLOGS, limit)) do
    local queue = string.match(backlog, '^' .. RQ_QUEUE .. '(.*)' .. BACKLOG_MARK)
    local ids = listed[queue]
    if not ids then
      ids = redis.call('LRANGE', RQ_QUEUE .. queue, 0, max_length)
      listed[queue] = ids
      for i = 1, #ids <= max_length and #ids or 0 do
        local producer = redis.call('HGET', RECORD .. ids[i], 'producer')
        if producer then ids[backlog_of(queue, producer)] = true end
      end
    end
    if #ids <= max_length and not ids[backlog] then give_turn(queue, backlog) end
  end
end

local function enqueue(id, queue, at_front, now)
  redis.call('HSET', RQ_JOB .. id, 'status', 'queued', 'origin', queue, 'enqueued_at', iso(now))
  redis.call('HSET', RECORD .. id, 'state', 'queued', 'queue', queue)
  redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. queue)
  local producer = redis.call('HGET', RECORD .. id, 'producer')
  local own, all = count_waiting(queue, producer)
  local position = at_front and 1 or next_position(queue, own, all)
  add_waiting(id, queue, producer, at_front, own, all)
  wake_worker(queue)
  return position
end

-- Enqueue a job and write an event that says why.
local function enqueue_with_event(id, queue, at_front, why, now)
  local position = enqueue(id, queue, at_front, now)
  add_event(id, cjson.encode({event = 'queued', at = now, queue = queue, position = position, why = why}))
end
