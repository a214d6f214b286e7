-- @include notice_turns
-- Try entries of the outbox at once, or drop them: pending ones, and those that failed for good.
-- Arguments: verb (retry, drop), entries
-- Reply: how many of the entries changed. One that is being delivered now is not tried a second time.
local wanted, changed = {}, {}
for _, entry in ipairs(args.entries) do wanted[entry] = true end

local function is_in_delivery(key, due)
  local lease = number(redis.call('HGET', key, 'lease'), 0)
  return lease == tonumber(due) and lease > now
end

for entry in pairs(wanted) do
  local key, due = OUTBOX_ENTRY .. entry, redis.call('ZSCORE', OUTBOX, entry)
  if due and args.verb == 'drop' then
    give_turn_back(key, (parse_notice(entry)), now)
    redis.call('ZREM', OUTBOX, entry)
    redis.call('DEL', key)
    changed[entry] = true
  elseif due and not is_in_delivery(key, due) then
    redis.call('ZADD', OUTBOX, now, entry)
    changed[entry] = true
  end
end

for _, letter in ipairs(redis.call('LRANGE', DEAD_LETTERS, 0, -1)) do
  local is_readable, dead = pcall(cjson.decode, letter)
  local entry = is_readable and type(dead) == 'table' and dead.entry
  if entry and wanted[entry] then
    redis.call('LREM', DEAD_LETTERS, 0, letter)
    if args.verb == 'retry' then redis.call('ZADD', OUTBOX, 'NX', now, entry) end
    changed[entry] = true
  end
end

local count = 0
for _ in pairs(changed) do count = count + 1 end
return count
