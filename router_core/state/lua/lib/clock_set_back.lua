-- The server's clock was set back by `by` ms. What was written before is as much too late: a back-off, a block or a check
-- would last as much longer. A moment that was written since is moved too, and is due early: that is harmless. A lease is no
-- such moment. It ends a whole lease from now, and a living owner renews it.
local function move_back(key, by)
  local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #entries, 2 do redis.call('ZADD', key, number(entries[i + 1], 0) - by, entries[i]) end
end

-- Let the leases of a key that end later than any that is given now end then. Returns how many there were.
local function end_leases_within(key, ends_at)
  local late = redis.call('ZRANGEBYSCORE', key, '(' .. ms(ends_at), '+inf')
  for _, member in ipairs(late) do redis.call('ZADD', key, ends_at, member) end
  return #late
end

-- The first number of a text is a moment.
local function moved_back(text, by)
  return (string.gsub(text, '%d+', function(moment) return ms(math.max(0, number(moment, 0) - by)) end, 1))
end

local function move_breakers_back(by)
  local blocked = redis.call('HGETALL', BLOCKED)
  for i = 1, #blocked, 2 do
    local is_switch = string.find(blocked[i], '^%l[%l_-]*$')  -- its text is for people
    if not is_switch then redis.call('HSET', BLOCKED, blocked[i], moved_back(blocked[i + 1], by)) end
  end
  for _, target in ipairs(redis.call('SMEMBERS', BREAKERS)) do
    for _, field in ipairs({'since', 'away_since', 'until', 'forced'}) do
      local text = redis.call('HGET', BREAKER .. target, field)
      if text then redis.call('HSET', BREAKER .. target, field, moved_back(text, by)) end
    end
  end
end

local function set_clock_back(by, silence, now)
  note_unreadable(LAST_BEAT, 'is ' .. math.floor(by / 1000) .. ' s ahead: the clock of Redis was set back')
  for _, backend in ipairs(redis.call('SMEMBERS', BACKENDS)) do
    end_leases_within(LEASES .. backend, now + silence.lease_ms)
    redis.call('DEL', LIMITS .. backend)
  end
  for _, key in ipairs({PRESENCE, RQ_JOBS_TAKEN, GATEWAYS}) do end_leases_within(key, now + silence.lease_ms) end
  end_leases_within(CALLER_LEASES, now + silence.caller_lease_ms)
  local pools = {}
  for _, queue in ipairs(redis.call('SMEMBERS', RQ_QUEUES)) do pools[pool_of(string.sub(queue, #RQ_QUEUE + 1))] = true end
  for pool in pairs(pools) do
    move_back(SCHEDULED .. pool, by)
    move_back(SUSPECTS .. pool, by)
  end
  for _, key in ipairs({UNFINISHED, HELD_LATER, OUTBOX}) do move_back(key, by) end
  move_breakers_back(by)
end
