-- What became of a post. Whoever lost the entry to another poster says nothing more.
-- ARGV: clock, entry, token, how, ...
--   'done'                                    it is delivered, or there is nothing to deliver any more
--   'told', version, message, update every    a notice is delivered: which state it told, its id at the notifier, (ms)
--   'later', wait (ms)                        not tried
--   'again', wait (ms), why                   tried in vain
--   'up', record (JSON), counter, most        tried in vain for the last time; so many records are kept
-- Reply: 1, or 0 when the entry is not the caller's
local now, entry, how = clock(), ARGV[2], ARGV[4]
local key = POSTING .. entry
if redis.call('HGET', key, 'lease') ~= ARGV[3] then return 0 end
local notifier, id, kind = string.match(entry, '^notice:([^:]*):(.*):([^:]*)$')

-- A turn that came to nothing is given back: the next incident need not wait for a notice that nobody saw.
local function give_turn_back()
  local turn = redis.call('HGET', key, 'turn')
  if not turn then return end
  local turns, left = redis.call('HGET', NOTICED, notifier) or '', {}
  for at in string.gmatch(turns, '%S+') do
    if at == turn then turn = nil else left[#left + 1] = at end
  end
  redis.call('HSET', NOTICED, notifier, table.concat(left, ' '))
  redis.call('HDEL', key, 'turn')
end

local function told(version, message, every)
  local incident = INCIDENT .. id
  if redis.call('EXISTS', incident) == 0 then return end
  local stamp = ms(now)
  redis.call('HSET', incident, 'told_version:' .. notifier, version, 'updated:' .. notifier, stamp)
  if kind == 'began' then redis.call('HSET', incident, 'told:' .. notifier, stamp) end
  if message ~= '' then redis.call('HSET', incident, 'message:' .. notifier, message) end
  local r = redis.call('HMGET', incident, 'version', 'ended')
  local about = 'notice:' .. notifier .. ':' .. id
  if (r[2] or '') == '' and tonumber(r[1] or '0') > tonumber(version) then  -- it went on while this was posted
    redis.call('ZADD', OUTBOX, 'NX', now + tonumber(every), about .. ':update')
  end
  if kind == 'began' then  -- that it ended can be told now
    redis.call('ZADD', OUTBOX, 'XX', now, about .. ':recovered')
    redis.call('HDEL', NOTICED, notifier .. ':unmentioned')
  end
end

if how == 'later' then
  if notifier then give_turn_back() end
  redis.call('ZADD', OUTBOX, now + tonumber(ARGV[5]), entry)
elseif how == 'again' then
  if notifier then give_turn_back() end
  redis.call('HINCRBY', key, 'tries', 1)
  redis.call('HSET', key, 'why', ARGV[6])
  redis.call('ZADD', OUTBOX, now + tonumber(ARGV[5]), entry)
else
  if how == 'up' then
    if notifier then give_turn_back() end
    redis.call('LPUSH', GIVEN_UP, ARGV[5])
    redis.call('LTRIM', GIVEN_UP, 0, tonumber(ARGV[7]) - 1)
    redis.call('EXPIRE', GIVEN_UP, 604800)  -- what nobody has looked at for a week is no news
    count(ARGV[6])
  end
  redis.call('ZREM', OUTBOX, entry)
  redis.call('DEL', key)
  if how == 'told' then told(ARGV[5], ARGV[6], ARGV[7]) end
end
return 1
