-- The jobs that wait in a queue. The producers of a queue take turns (round robin), so that the many jobs of one do not
-- stand before the one job of another.
-- A queue with one producer is one list, first in, first out. As soon as a second producer waits too, the list holds the
-- next job of each producer, in the order of their turns, and each further job waits in its producer's backlog: a list of
-- its own, which rq's tools show as a queue. When the job of a producer leaves the list, its next one enters at the tail.
-- Jobs at the front of the list (retries, hand-offs, releases) come before all turns.
-- LISTED .. queue has the number of jobs of each producer in the list, or '*' for a producer that is alone in the queue;
-- and in the field '' the number of jobs in all backlogs. rq's own tools may remove jobs from either: then a count is too
-- high until the next sweep.

-- One entry wakes one waiting worker. A few are enough for a burst, since a claim takes many jobs.
local MAX_WAKEUPS = 4
local function wake_worker(queue)
  if redis.call('LLEN', WAKEUP .. queue) < MAX_WAKEUPS then redis.call('RPUSH', WAKEUP .. queue, '1') end
end

-- What the manager of a pool's cards waits for, in place of a queue.
local function cards_of(pool) return 'cards:' .. pool end

-- The producer of a job; '?' if it cannot be read.
local function producer_of(id) return redis.call('HGET', RECORD .. id, 'producer') or '?' end

-- The list of a producer's backlog. A producer's name may have any character; that of a queue stays readable in a URL.
local unsafe = '[^%w@_.-]'
local function backlog_of(queue, producer)
  if string.find(producer, unsafe) then
    producer = string.gsub(producer, unsafe, function(c) return string.format('=%02X', string.byte(c)) end)
  end
  return RQ_QUEUE .. queue .. BACKLOG_MARK .. producer
end

local function register_backlog(backlog)
  redis.call('SADD', BACKLOGS, backlog)
  redis.call('SADD', RQ_QUEUES, backlog)
end

local function forget_backlog(backlog)
  redis.call('SREM', BACKLOGS, backlog)
  redis.call('SREM', RQ_QUEUES, backlog)
end

-- The jobs that wait in a queue: how many of them are a producer's `own`, how many of those are `listed`, how many jobs of
-- any producer are `backlogged`, how many there are in `all`, and whether the producer is noted as the only one.
local function count_waiting(queue, producer)
  local counts, length = redis.call('HMGET', LISTED .. queue, producer, ''), redis.call('LLEN', RQ_QUEUE .. queue)
  local is_sole, backlogged = counts[1] == '*', number(counts[2], 0)
  if counts[1] and not is_sole and not number(counts[1]) or counts[2] and not number(counts[2]) then
    note_unreadable(LISTED .. queue, 'is no number')  -- the sweep counts again
  end
  local listed = is_sole and length or number(counts[1], 0)
  local own = backlogged == 0 and listed or listed + redis.call('LLEN', backlog_of(queue, producer))
  return {own = own, listed = listed, backlogged = backlogged, all = backlogged + length, is_sole = is_sole}
end

-- The position that the next job of a producer gets in the order of the claims: in each round each producer has a turn.
local function next_position(queue, waiting)
  if waiting.own == waiting.all then return waiting.all + 1 end
  local producers = redis.call('HLEN', LISTED .. queue) - (waiting.backlogged > 0 and 1 or 0) + (waiting.own == 0 and 1 or 0)
  return math.min(waiting.all + 1, (waiting.own + 1) * producers)
end

local function note_unbacklogged(queue, n)
  if n > 0 and redis.call('HINCRBY', LISTED .. queue, '', -n) < 1 then redis.call('HDEL', LISTED .. queue, '') end
end

-- Give a producer its turn: the next job of its backlog enters the list at the tail. Jobs that rq's own tools have
-- cancelled or deleted stay behind until the sweep ends them. Returns how many ids entered the list, and how many left the
-- backlog.
local MAX_TRIED = 100
local function give_turn(queue, producer)
  local list, backlog, left = RQ_QUEUE .. queue, backlog_of(queue, producer), 0
  for _ = 1, MAX_TRIED do
    local id = redis.call('LMOVE', backlog, list, 'LEFT', 'RIGHT')
    if not id then
      forget_backlog(backlog)
      break
    end
    if redis.call('HGET', RQ_JOB .. id, 'status') == 'queued' then return 1, left + 1 end
    if redis.call('HGET', RECORD .. id, 'state') == 'queued' then
      if not removed_by_rq(id) then return 1, left + 1 end
      redis.call('LMOVE', list, backlog, 'RIGHT', 'RIGHT')
    else
      redis.call('RPOP', list)
      left = left + 1
    end
  end
  return 0, left
end

-- A second producer enters a queue: the jobs of the first become its backlog, and the first of them has its turn.
local function begin_turns(queue, length)
  local key, list = LISTED .. queue, RQ_QUEUE .. queue
  if redis.call('HLEN', key) ~= 1 then return end
  local first, listed = unpack(redis.call('HGETALL', key))
  if listed ~= '*' then return end
  redis.call('HSET', key, first, 1)
  if length < 2 then return end
  local backlog = backlog_of(queue, first)
  redis.call('RENAME', list, backlog)
  register_backlog(backlog)
  local _, left = give_turn(queue, first)
  redis.call('HSET', key, '', length - left)
end

-- Add a job of a producer at the front or at the tail of the list, or to the producer's backlog. `waiting`: see
-- `count_waiting`.
local function add_waiting(id, queue, producer, at_front, waiting)
  local is_alone = waiting.own == waiting.all and waiting.backlogged == 0
  if is_alone and not waiting.is_sole then
    redis.call('DEL', LISTED .. queue)
    redis.call('HSET', LISTED .. queue, producer, '*')
  elseif waiting.own == 0 and not is_alone then
    begin_turns(queue, waiting.all)
  end
  if at_front or is_alone or waiting.own == 0 then
    redis.call(at_front and 'LPUSH' or 'RPUSH', RQ_QUEUE .. queue, id)
    if not is_alone then redis.call('HSET', LISTED .. queue, producer, waiting.listed + 1) end
  else
    local backlog = backlog_of(queue, producer)
    if redis.call('RPUSH', backlog, id) == 1 then register_backlog(backlog) end
    redis.call('HINCRBY', LISTED .. queue, '', 1)
  end
end

-- Note that `n` jobs of a producer have left the list. If it has no other there, it has a turn. Returns how many ids
-- entered the list, and how many left the backlog: the caller notes those.
local function note_left(queue, producer, n)
  local counts = redis.call('HMGET', LISTED .. queue, producer, '')
  if counts[1] == '*' then return 0, 0 end
  local listed, entered, left = number(counts[1], 0) - n, 0, 0
  if listed < 1 and counts[2] then entered, left = give_turn(queue, producer) end
  if listed + entered < 1 then
    redis.call('HDEL', LISTED .. queue, producer)
  elseif listed + entered ~= number(counts[1], 0) then
    redis.call('HSET', LISTED .. queue, producer, math.max(listed, 0) + entered)
  end
  return entered, left
end

-- Take a job out of the list or the backlog where it waits. A reaped job is at the head of its list, where LREM finds it
-- at once. A job in neither was removed by a tool of rq: the sweep counts again.
local function leave_queue(id, queue)
  local producer = producer_of(id)
  if redis.call('LREM', RQ_QUEUE .. queue, 1, id) == 1 then
    local _, left = note_left(queue, producer, 1)
    note_unbacklogged(queue, left)
  else
    note_unbacklogged(queue, redis.call('LREM', backlog_of(queue, producer), 1, id))
  end
end

-- How many jobs wait in a queue.
local function length_of(queue)
  return redis.call('LLEN', RQ_QUEUE .. queue) + number(redis.call('HGET', LISTED .. queue, ''), 0)
end

-- At most `n` waiting jobs of a queue after the first `from`: those in its list, then those in backlogs.
local function waiting_slice(queue, from, n)
  local lists, ids = {RQ_QUEUE .. queue}, {}
  if redis.call('HEXISTS', LISTED .. queue, '') == 1 then
    for _, producer in ipairs(redis.call('HKEYS', LISTED .. queue)) do lists[#lists + 1] = backlog_of(queue, producer) end
  end
  for _, list in ipairs(lists) do
    if #ids >= n then break end
    for _, id in ipairs(redis.call('LRANGE', list, from, from + n - #ids - 1)) do ids[#ids + 1] = id end
    from = math.max(0, from - redis.call('LLEN', list))
  end
  return ids
end

local function enqueue(id, queue, at_front, now)
  redis.call('HSET', RQ_JOB .. id, 'status', 'queued', 'origin', queue, 'enqueued_at', iso(now))
  redis.call('HSET', RECORD .. id, 'state', 'queued', 'queue', queue)
  redis.call('SADD', RQ_QUEUES, RQ_QUEUE .. queue)
  local producer = producer_of(id)
  local waiting = count_waiting(queue, producer)
  local position = at_front and 1 or next_position(queue, waiting)
  add_waiting(id, queue, producer, at_front, waiting)
  wake_worker(queue)
  return position
end

-- Enqueue a job and write an event that says why.
local function enqueue_with_event(id, queue, at_front, why, now)
  local position = enqueue(id, queue, at_front, now)
  add_event(id, cjson.encode({event = 'queued', at = now, queue = queue, position = position, why = why}))
end
