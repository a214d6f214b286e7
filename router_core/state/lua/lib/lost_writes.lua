-- Each beat of a worker is counted, in two places: damage to one is healed from the other. A worker that has seen a higher count
-- knows that the whole database went back to an earlier state, whose moment is that of its last beat.
local ONE_LOSS_MS = 10000

local function count_beat(worker, seen, seen_at, ttl_s, now)
  local text = redis.call('GET', BEATS)
  local count, at = string.match(text or '', '^(%d+) (%d+)$')
  if text and not count then note_unreadable(BEATS, 'is no count and moment') end
  local beats = 1 + math.max(number(count, 0), number(redis.call('HGET', COUNTERS, 'beats'), 0))
  redis.call('SET', BEATS, string.format('%d %s', beats, ms(now)))
  redis.call('HSET', COUNTERS, 'beats', beats)
  if not seen or beats > seen then return beats, false end
  local since = number(at)
  if since then since = math.min(since, seen_at) end
  -- Several workers notice the same loss, one after the other: the first of them still finds the moment.
  local row = redis.call('GET', LOST_WRITES)
  local readable, known = pcall(cjson.decode, row or '')
  if readable and type(known) == 'table' and number(known.at, 0) > now - ONE_LOSS_MS then
    since = number(known.since)
    seen_at = math.max(seen_at, number(known['until'], 0))
  end
  redis.call('SET', LOST_WRITES, cjson.encode({at = math.floor(now), ['until'] = seen_at, since = since, worker = worker}),
    'EX', ttl_s)
  return beats, true
end
