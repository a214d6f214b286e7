-- @include budget_sums
-- The sums of a budget's window, counted again after its field was damaged: from the ledger, and from the calls in flight.
-- A budget must not begin again for it. What the ledger cannot tell apart is counted too: the whole days (UTC) in which the
-- window begins, other tasks, producers beyond the rows of a day.
-- A table of functions: a script may have 200 locals.
local recounting = {}
do
  local LEDGER_DAYS, LEDGER_EDGE_DAYS = 100, 90

  -- What the calls in flight have reserved, by window.
  function recounting.reserves()
    local sums = {}
    local function add(reserve)
      local bound = number(string.match(reserve, '^%d+'), 0)
      for key in string.gmatch(reserve, ' (%S+)') do sums[key] = (sums[key] or 0) + bound end
    end
    for _, backend in ipairs(redis.call('SMEMBERS', BACKENDS)) do
      for _, member in ipairs(redis.call('ZRANGE', LEASES .. backend, 0, -1)) do
        local id, token = string.match(member, '^([^:]+):(.+)$')
        local job = id and redis.call('HMGET', RECORD .. id, 'state', 'lease', 'reserve') or {}
        if job[1] == 'started' and job[2] == token and job[3] then add(job[3]) end
      end
    end
    for _, target in ipairs(redis.call('SMEMBERS', BREAKERS)) do
      local reserve = redis.call('HGET', BREAKER .. target, 'reserve')
      if reserve then add(reserve) end
    end
    return sums
  end

  local function unquote(word)
    return (string.gsub(word, '%%(%x%x)', function(digits) return string.char(tonumber(digits, 16)) end))
  end

  -- Whether a row of the ledger may have calls of a window. `word`: writes a name as the field of the window has it.
  local function may_count(budget, who, row, word)
    local names = {}
    names.group, names.role, names.producer = string.match(row, '^%S+ (%S+) (%S+) (%S+)$')
    for name, text in pairs(names) do
      if text ~= '*' then
        if budget[name] and budget[name] ~= unquote(text) then return false end
        if budget.each == name and who ~= ':' .. word(unquote(text)) then return false end
      end
    end
    return true
  end

  -- Returns what was spent since a moment, may have been billed, and the calls. nil: the ledger does not reach as far back.
  function recounting.ledger(budget, who, starts, now, word)
    local spent, unconfirmed, calls = 0, 0, 0
    local first = math.max(math.floor(starts / DAY_MS), math.floor(now / DAY_MS) - LEDGER_DAYS)
    for day = first, math.floor(now / DAY_MS) do
      local rows = redis.call('HGETALL', LEDGER .. date_of(day))
      if rows[1] and starts == 0 and day * DAY_MS < now - LEDGER_EDGE_DAYS * DAY_MS then return nil end
      for i = 1, #rows, 2 do
        local made, _, _, _, cost, _, _, _, more = string.match(rows[i + 1], row_pattern)
        if made and may_count(budget, who, rows[i], word) then
          spent, calls = spent + amount(cost), calls + amount(made)
          unconfirmed = unconfirmed + math.max(0, amount(string.match(more, ' unconfirmed (%d+)') or '0'))
        end
      end
    end
    return spent, unconfirmed, calls
  end
end
