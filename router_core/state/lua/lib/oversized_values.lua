-- Removes values that are far larger than any of openfall's from the keys of the fleet. Every script and reader that
-- meets such a value copies it, and Redis serves no other client meanwhile.
local remove_oversized
do
  local MAX_VALUE_BYTES, MAX_ELEMENTS, MAX_NAME_BYTES = 2 ^ 20, 10000, 80
  -- Only the owner of a job, file or Response reads these. The keys of callers stay:
  -- a gateway without keys would serve callers who have none.
  local OF_ONE_OWNER = {PROMPT, RESULT, EVENTS, ANSWERS, LAST_ANSWER, IDEMPOTENCY, REPEATS, FILE, RESPONSE, INBOX, RQ_JOB,
    CLIENT_KEYS, SET_ASIDE, UNREADABLE}
  local function is_of_one_owner(key)
    for _, prefix in ipairs(OF_ONE_OWNER) do
      if string.sub(key, 1, #prefix) == prefix then return true end
    end
    return false
  end

  -- By type: the commands that count the elements, read all, and remove one.
  local COMMANDS = {
    hash = {'HLEN', 'HKEYS', 'HDEL'}, set = {'SCARD', 'SMEMBERS', 'SREM'}, zset = {'ZCARD', 'ZRANGE', 'ZREM', 0, -1},
    list = {'LLEN', 'LRANGE', 'LREM', 0, -1},
  }

  function remove_oversized(key)
    if is_of_one_owner(key) then return end
    local kind = redis.call('TYPE', key).ok
    if kind == 'string' and redis.call('STRLEN', key) > MAX_VALUE_BYTES then
      redis.call('DEL', key)
      note_unreadable(key, 'is too large: removed')
    end
    local commands = COMMANDS[kind]
    if not commands or redis.call(commands[1], key) > MAX_ELEMENTS then return end
    for _, element in ipairs(redis.call(commands[2], key, unpack(commands, 4))) do
      if #element > MAX_VALUE_BYTES or kind == 'hash' and redis.call('HSTRLEN', key, element) > MAX_VALUE_BYTES then
        if kind == 'list' then redis.call('LREM', key, 0, element) else redis.call(commands[3], key, element) end
        note_unreadable(key .. ' ' .. string.sub(element, 1, MAX_NAME_BYTES), 'is too large: removed')
      end
    end
  end
end
