-- @include ledger
-- Budgets. Before a call the claim reserves the most that it can cost in every budget that counts it; the script that ends
-- its lease ends the reserve. BUDGET_SUMS has a field for each {budget}:{window}[:{who}]: '{spent} {reserved} {unconfirmed}
-- {calls} {refused} {needed}', in nanodollars but for the two counts: known costs, calls in flight, calls that may have been
-- billed and whose cost is not known; and what the last call that did not fit may cost, 0 once a call fits. No call is made
-- with which the first three could exceed the limit. One hash, one text for each window: a script reads all windows of a call
-- with one command, and writes them with one. The record of a job has `reserve` while its call is in flight:
-- '{nanodollars} {budget}...'.
local RESERVED_RETRY_MS = 5000

-- A window whose sums are read with those of others.
local function window_row(key, shown, name, ends)
  return {key = key, shown = shown, name = name, ends = ends, spent = 0, reserved = 0, unconfirmed = 0, calls = 0, refused = 0,
    needed = 0, changed = false, is_new = false}
end

-- Read the sums of windows. What cannot be read counts as nothing.
local function read_sums(rows, keys)
  local texts = redis.call('HMGET', BUDGET_SUMS, unpack(keys))
  for i, row in ipairs(rows) do
    local text = texts[i]
    local spent, reserved, unconfirmed, calls, refused, needed
    if text then
      spent, reserved, unconfirmed, calls, refused, needed = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
    end
    if spent then
      row.spent, row.reserved, row.unconfirmed = number(spent, 0), number(reserved, 0), number(unconfirmed, 0)
      row.calls, row.refused, row.needed = number(calls, 0), number(refused, 0), number(needed, 0)
    else
      row.is_new = true
      if text then note_unreadable(BUDGET_SUMS .. ' ' .. row.key, 'cannot be read') end
    end
  end
end

local function write_sums(rows)
  local entries = {}
  for i, row in ipairs(rows) do
    entries[2 * i - 1] = row.key
    entries[2 * i] = string.format('%.0f %.0f %.0f %.0f %.0f %.0f', row.spent, row.reserved, row.unconfirmed, row.calls,
      row.refused, row.needed)
  end
  redis.call('HSET', BUDGET_SUMS, unpack(entries))
end

local function budget_word(text)
  return (string.gsub(text, '[^%w_.@-]', function(c) return string.format('=%02X', string.byte(c)) end))
end

-- What a job uses at most (see cost_bound.py), and whose it is. `record` has its bound, group and producer. Of a job without
-- a bound nothing is known.
local function budgeted_job(record)
  local input, output, thinking, answers, searches, dear, role, task =
    string.match(record.bound or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d) (%S+) (%S+)$')
  return {group = record.group or '-', producer = record.producer or '-', role = role or '-', task = task or '-', known = input ~= nil,
    input = number(input, 0), output = number(output, 0), thinking = number(thinking, 0), answers = number(answers, 1),
    searches = number(searches, 0), dear = dear == '1'}
end

-- The most that a call can cost, in nanodollars; nil: it is not known.
local function call_bound(price, job)
  if not job.known or type(price) ~= 'table' or (job.dear and price.priority == 0) then return nil end
  local input, output = price.input, price.output
  if job.dear then
    input, output = math.max(input, price.priority_input), math.max(output, price.priority_output)
  end
  if price.long_tokens > 0 and job.input > price.long_tokens then
    input, output = math.max(input, price.long_input), math.max(output, price.long_output)
  end
  local answer = (job.output > 0 and job.output or price.answer) + job.thinking
  return math.ceil((job.input * input + job.answers * answer * output) / 1000) + price.request
    + job.searches * price.web_search
end

-- The price of a call whose whole cost is known before it is made.
local function fixed_price(cost)
  return {input = 0, output = 0, request = cost, web_search = 0, answer = 0, long_tokens = 0, priority = 0}
end

-- What a limit is raised by. It is read only when a call does not fit without it.
local function raised_by(book, name)
  if not book.raises then
    book.raises = {}
    local rows = redis.call('HGETALL', BUDGET_RAISES)
    for i = 1, #rows, 2 do
      local by, ends = string.match(rows[i + 1], '^(%d+) (%d+)$')
      if by and tonumber(ends) > book.now then book.raises[rows[i]] = tonumber(by) end
    end
  end
  return book.raises[name] or 0
end

-- Whether a budget counts a call for a job.
local function counts_job(budget, job)
  return budget and (not budget.group or budget.group == job.group) and (not budget.role or budget.role == job.role)
    and (not budget.task or budget.task == job.task) and (not budget.producer or budget.producer == job.producer)
end

-- The windows of the budgets that count a call for a job, each read once for all jobs of a script.
local function counting_windows(book, names, job)
  local rows, unread, keys = {}, {}, {}
  for _, name in ipairs(names) do
    local budget = book.budgets[name]
    if counts_job(budget, job) then
      local who = budget.each and ':' .. budget_word(job[budget.each]) or ''
      local shown = name .. who
      local row = book.rows[shown]
      if not row then
        local windows = budget.windows
        local window = windows[#windows]
        for i = #windows, 1, -1 do
          if book.now < windows[i][2] then window = windows[i] end
        end
        row = window_row(name .. ':' .. window[1] .. who, shown, name, window[2])
        book.rows[shown], unread[#unread + 1], keys[#keys + 1] = row, row, row.key
      end
      rows[#rows + 1] = row
    end
  end
  if unread[1] then read_sums(unread, keys) end
  return rows
end

-- Why a call does not fit into a budget; nil: it fits.
local function over_cause(row, bound, limit)
  if not bound then return 'unpriced' end
  if bound > limit then return 'too_dear' end
  if row.spent + row.unconfirmed + bound > limit then return 'spent' end
  return row.spent + row.unconfirmed + row.reserved + bound > limit and 'reserved' or nil
end

-- Reserve a call in every budget that counts it. `terms`: the budgets and the price of a backend. Returns the field of the
-- job's record ({}: no budget counts it); or nil and why it does not fit: ends, and the text that budget_book.py reads.
-- `write_reserves` writes the sums, once for all calls of a script.
local function reserve_call(book, terms, interactive, record)
  local job = budgeted_job(record)
  local rows, bound, over = counting_windows(book, terms.budgets, job), call_bound(terms.price, job), nil
  for _, row in ipairs(rows) do
    local budget = book.budgets[row.name]
    local limit = interactive and budget.limit or budget.others_limit
    local cause = over_cause(row, bound, limit)
    if cause then
      limit = limit + raised_by(book, row.name)
      cause = over_cause(row, bound, limit)
    end
    local ends = cause == 'reserved' and book.now + RESERVED_RETRY_MS or row.ends
    if cause and (not over or ends > over.ends) then
      over = {ends = ends, row = row, needed = bound or 0, text = table.concat({row.shown, ms(ends), cause, ms(row.spent),
        ms(row.reserved), ms(row.unconfirmed), ms(limit), ms(bound or 0)}, ' ')}
    end
  end
  if over then return nil, over end
  if not rows[1] then return {} end
  local reserve = ms(bound)
  for _, row in ipairs(rows) do
    row.reserved, row.calls, row.needed, row.changed = row.reserved + bound, row.calls + 1, 0, true
    reserve = reserve .. ' ' .. row.key
  end
  return {'reserve', reserve}
end

-- Count a call that did not fit.
local function refuse_call(over)
  local row = over.row
  row.refused, row.needed, row.changed = row.refused + 1, over.needed, true
end

-- Write what was reserved, and forget what was read: after it another function may change the sums.
local function write_reserves(book)
  local rows = {}
  for _, row in pairs(book.rows) do
    if row.changed then rows[#rows + 1] = row end
    if row.changed and row.is_new then redis.call('ZADD', BUDGETS, row.ends, row.key) end
  end
  if rows[1] then write_sums(rows) end
  book.rows = {}
end

-- The budgets of a script (see budget_book.py), and what it has read and reserved of them; nil: there are none. A table of
-- functions: a function of Lua may use 60 names of others.
local function load_budgets(packed, now)
  if packed == '' then return nil end
  local book = {budgets = decode_once(packed), now = now, rows = {}}
  function book.fits(terms, interactive, record) return reserve_call(book, terms, interactive, record) end
  function book.reserve(terms, interactive, record)
    local reserve, over = reserve_call(book, terms, interactive, record)
    if over then refuse_call(over) end
    return reserve, over
  end
  function book.write() write_reserves(book) end
  -- Add what a call cost that has reserved nothing. Returns why it does not fit, if it must.
  function book.spend(terms, record, cost, must_fit)
    local _, over
    if must_fit then
      _, over = reserve_call(book, {budgets = terms.budgets, price = fixed_price(cost)}, true, record)
      if over then refuse_call(over) end
    end
    for _, row in ipairs(over and {} or counting_windows(book, terms.budgets, budgeted_job(record))) do
      if must_fit then row.reserved = row.reserved - cost else row.calls = row.calls + 1 end
      row.spent, row.changed = row.spent + cost, true
    end
    write_reserves(book)
    return over and over.text or ''
  end
  return book
end

-- Change the sums of the windows that a reserve is in. No sum falls below 0.
local function change_sums(reserve, spent_by, reserved_by, unconfirmed_by)
  local keys, entries = {}, {}
  for key in string.gmatch(reserve, ' (%S+)') do keys[#keys + 1] = key end
  if not keys[1] then return end
  local texts = redis.call('HMGET', BUDGET_SUMS, unpack(keys))
  for i, key in ipairs(keys) do
    local spent, reserved, unconfirmed, counts = string.match(texts[i] or '', '^(%d+) (%d+) (%d+) (%d+ %d+ %d+)$')
    if texts[i] and not spent then note_unreadable(BUDGET_SUMS .. ' ' .. key, 'cannot be read') end
    entries[2 * i - 1] = key
    entries[2 * i] = string.format('%.0f %.0f %.0f %s', math.max(0, number(spent, 0) + spent_by),
      math.max(0, number(reserved, 0) + reserved_by), math.max(0, number(unconfirmed, 0) + unconfirmed_by), counts or '0 0 0')
  end
  redis.call('HSET', BUDGET_SUMS, unpack(entries))
end

-- What may have been billed stands in the ledger too, in the row of its model, backend and group, until its cost is known.
-- Returns where: '{day}\n{row}'.
local LEDGER_TTL_S = 100 * 86400
local function note_unconfirmed(id, bound, now)
  local job = redis.call('HMGET', RECORD .. id, 'queue', 'backend', 'group')
  if not job[1] or not job[2] then return '' end
  local group = string.gsub(job[3] or '-', '[^%w_.~-]', function(c) return string.format('%%%02X', string.byte(c)) end)
  local day, row = ledger_day(now), ledger_row({model = model_of(job[1]), backend = job[2], group = group})
  change_row(day, row, {'unconfirmed', bound}, LEDGER_TTL_S)
  return day .. '\n' .. row
end

-- End the reserve of a delivery. `cost`: what the call cost; nil: it may have been billed, and the cost is not known yet.
local function end_reserve(id, token, now, reserve, cost)
  if not reserve then return end
  local bound = number(string.match(reserve, '^%d+'), 0)
  change_sums(reserve, cost or 0, -bound, cost and 0 or bound)
  if not cost then
    redis.call('HSET', RECORD .. id, 'unconfirmed:' .. (token or ''), reserve .. '\n' .. note_unconfirmed(id, bound, now))
  end
  redis.call('HDEL', RECORD .. id, 'reserve')
  if cost and cost > bound then count('reserve_exceeded') end
end

-- End what a probe has reserved: it stands in the hash of its breaker. `cost`: see `end_reserve`.
local function end_probe_reserve(breaker, cost)
  local reserve = redis.call('HGET', breaker, 'reserve')
  if not reserve then return end
  local bound = number(string.match(reserve, '^%d+'), 0)
  redis.call('HDEL', breaker, 'reserve')
  change_sums(reserve, cost or 0, -bound, cost and 0 or bound)
end

-- The cost of a delivery is known after all.
local function confirm_cost(id, token, cost)
  local field = 'unconfirmed:' .. token
  local text = cost and redis.call('HGET', RECORD .. id, field)
  if not text then return end
  local reserve, day, row = string.match(text, '^([^\n]*)\n?([^\n]*)\n?(.*)$')
  local bound = number(string.match(reserve, '^%d+'), 0)
  change_sums(reserve, cost, 0, -bound)
  if row ~= '' then change_row(day, row, {'unconfirmed', -bound}, LEDGER_TTL_S) end
  redis.call('HDEL', RECORD .. id, field)
end
