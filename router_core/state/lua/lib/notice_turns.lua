-- Outbox entries that are notices, and the turns of their notifiers: when each was notified of new incidents.

-- The notifier, incident and kind of an entry 'notice:NOTIFIER:INCIDENT:KIND'; nil for another entry.
local function parse_notice(entry) return string.match(entry, '^notice:([^:]*):(.*):([^:]*)$') end

-- The turns of a notifier after `since` (ms), without `own`, the one that an entry has from an earlier try.
local function other_turns(notifier, own, since, now)
  local turns = {}
  for at in string.gmatch(redis.call('HGET', NOTICE_RATE, notifier) or '', '%S+') do
    if not number(at) then note_unreadable(NOTICE_RATE .. ' ' .. notifier, 'has a turn that is no moment') end
    if at == own then own = nil elseif number(at, 0) > since and number(at) <= now then turns[#turns + 1] = at end
  end
  return turns
end

local function write_turns(notifier, turns) redis.call('HSET', NOTICE_RATE, notifier, table.concat(turns, ' ')) end

-- Give back the turn of a notice that was not sent: the next incident need not wait for it.
local function give_turn_back(key, notifier, now)
  local turn = notifier and redis.call('HGET', key, 'turn')
  if not turn then return end
  write_turns(notifier, other_turns(notifier, turn, 0, now))
  redis.call('HDEL', key, 'turn')
end
