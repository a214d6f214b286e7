-- @include ledger
-- Budgets. Before a call the claim reserves the most that it can cost in every budget that counts it; the script that ends
-- its lease ends the reserve. BUDGET_SUMS has a field for each {budget}:{window}[:{who}]: '{spent} {reserved} {unconfirmed}
-- {calls} {refused} {needed}', in nanodollars but for the two counts: known costs, calls in flight, calls that may have been
-- billed and whose cost is not known; and what the last call that did not fit may cost, 0 once a call fits. No call is made
-- with which the first three could exceed the limit. One hash, one text for each window: a script reads all windows of a call
-- with one command, and writes them with one. The record of a job has `reserve` while its call is in flight:
-- '{nanodollars} {budget}...'.
local RESERVED_RETRY_MS = 5000

-- A window whose sums are read with those of others. `read_by`: the book that has read them. `refusals`: the text of the last
-- two, which few calls change.
local no_refusals = '0 0'
local function window_row(key, shown, name, budget, begins, ends)
  return {key = key, shown = shown, name = name, budget = budget, begins = begins, ends = ends, read_by = false, spent = 0,
    reserved = 0, unconfirmed = 0, calls = 0, refusals = no_refusals, changed = false, is_new = false}
end

-- A number of a text of digits.
local function whole(digits)
  local n = digits + 0
  return n < MAX_NUMBER and n or 0
end

-- Read the sums of windows. What cannot be read counts as nothing.
local function read_sums(rows, keys)
  local texts = redis.call('HMGET', BUDGET_SUMS, unpack(keys))
  for i = 1, #rows do
    local row, text = rows[i], texts[i]
    local spent, reserved, unconfirmed, calls, refusals
    if text then spent, reserved, unconfirmed, calls, refusals = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+ %d+)$') end
    if spent then
      row.spent, row.reserved, row.unconfirmed, row.calls = spent + 0, reserved + 0, unconfirmed + 0, calls + 0
      row.refusals, row.is_new = refusals, false
      if row.spent + row.reserved + row.unconfirmed + row.calls >= MAX_NUMBER then
        row.spent, row.reserved, row.unconfirmed, row.calls = whole(spent), whole(reserved), whole(unconfirmed), whole(calls)
      end
    else
      row.spent, row.reserved, row.unconfirmed, row.calls, row.refusals, row.is_new = 0, 0, 0, 0, no_refusals, true
      if text then note_unreadable(BUDGET_SUMS .. ' ' .. row.key, 'cannot be read') end
    end
    row.changed = false
  end
end

local function budget_word(text)
  return (string.gsub(text, '[^%w_.@-]', function(c) return string.format('=%02X', string.byte(c)) end))
end

-- The most that a call can cost, in nanodollars; nil: it is not known. `bound`: what its job uses at most (see
-- cost_bound.py); of a job without it nothing is known.
local function call_bound(price, bound)
  local tokens, asked, thinking, answers, searches, priority = string.match(bound or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d) ')
  if not tokens or type(price) ~= 'table' or (priority == '1' and price.priority == 0) then return nil end
  local input, output = price.input, price.output
  tokens, asked = whole(tokens), whole(asked)
  if priority == '1' then
    input, output = math.max(input, price.priority_input), math.max(output, price.priority_output)
  end
  if price.long_tokens > 0 and tokens > price.long_tokens then
    input, output = math.max(input, price.long_input), math.max(output, price.long_output)
  end
  local answer = (asked > 0 and asked or price.answer) + whole(thinking)
  return math.ceil((tokens * input + whole(answers) * answer * output) / 1000) + price.request + whole(searches) * price.web_search
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

-- The fields of a record that a reserve needs beside those of every job. The windows of budgets now, as worked out for the calls of jobs that are alike. They stay from script to script as long
-- as the budgets stay the same (`decode_once`): most of the time of a claim went into new tables.
local MAX_PLANS = 500
local MONEY_FIELDS, NO_FIELDS = {'bound', 'group'}, {}
local windows_of, windows_count = {}, 0

-- Whether a budget counts a call for a job, and whose window it has then.
local CONDITIONS = {'group', 'role', 'task', 'producer'}
local function counts_job(budget, job)
  for _, name in ipairs(CONDITIONS) do
    if budget[name] and budget[name] ~= job[name] then return false end
  end
  return true, budget.each and ':' .. budget_word(job[budget.each]) or ''
end

-- The row of the window of a budget now. Two plans share it: a script reads and writes it once.
local function current_row(known, name, budget, who, now)
  local n = #budget.windows
  while n > 1 and now < budget.windows[n - 1][2] do n = n - 1 end
  local window, before = budget.windows[n], budget.windows[n - 1]
  local key = name .. ':' .. window[1] .. who
  known.rows[key] = known.rows[key] or window_row(key, name .. who, name, budget, before and before[2] or 0, window[2])
  return known.rows[key]
end

-- The plan of a job: the windows that count its calls (rows, keys), the end of the text of a reserve in them, and from when
-- to when they are the right ones.
local function plan_windows(book, names, job)
  local plan = {rows = {}, keys = {}, reserve = '', begins = 0, ends = math.huge}
  for _, name in ipairs(names) do
    local budget = book.budgets[name]
    local counts, who = false, nil
    if budget then counts, who = counts_job(budget, job) end
    if counts then
      local row = current_row(book.known, name, budget, who, book.now)
      plan.rows[#plan.rows + 1], plan.keys[#plan.keys + 1] = row, row.key
      plan.reserve = plan.reserve .. ' ' .. row.key
      plan.begins, plan.ends = math.max(plan.begins, row.begins), math.min(plan.ends, row.ends)
    end
  end
  return plan
end

-- Whether budgets count the calls of every job in the same windows.
local function count_all_alike(book, names)
  for _, name in ipairs(names) do
    local budget = book.budgets[name] or {}
    if budget.group or budget.role or budget.task or budget.producer or budget.each then return false end
  end
  return true
end

-- The plan of a job (see `plan_windows`). `record` has its bound, group and producer. The names are a table that stays the
-- same from script to script.
local function find_plan(book, names, record)
  local plans = book.known.plans[names]
  if not plans then
    plans = {all_alike = count_all_alike(book, names), by_job = {}}
    book.known.plans[names], book.known.size = plans, book.known.size + 1
  end
  local job, word = nil, ''
  if not plans.all_alike then
    local role, task = string.match(record.bound or '', ' (%S+) (%S+)$')
    job = {group = record.group or '-', producer = record.producer or '-', role = role or '-', task = task or '-'}
    word = table.concat({job.group, job.producer, job.role, job.task}, '\n')
  end
  local plan = plans.by_job[word]
  if not plan or book.now < plan.begins or book.now >= plan.ends then
    plan = plan_windows(book, names, job or {})
    plans.by_job[word], book.known.size = plan, book.known.size + 1
  end
  return plan
end

-- The plan of a job, with sums that are read once for all jobs of a script.
local function read_plan(book, names, record)
  local plan, read, unread = find_plan(book, names, record), book.read, 0
  for i = 1, #plan.rows do
    local row = plan.rows[i]
    if row.read_by ~= book then row.read_by, unread, read[#read + 1] = book, unread + 1, row end
  end
  if unread == 0 then return plan end
  if unread == #plan.rows then
    read_sums(plan.rows, plan.keys)
  else
    local rows, keys = {}, {}
    for i = #read - unread + 1, #read do rows[#rows + 1], keys[#keys + 1] = read[i], read[i].key end
    read_sums(rows, keys)
  end
  return plan
end

-- Why a call does not fit into a budget; nil: it fits.
local function over_cause(row, bound, limit)
  if not bound then return 'unpriced' end
  if bound > limit then return 'above_limit' end
  if row.spent + row.unconfirmed + bound > limit then return 'spent' end
  return row.spent + row.unconfirmed + row.reserved + bound > limit and 'reserved' or nil
end

-- Reserve a call in every budget that counts it. `terms`: the budgets and the price of a backend. Returns the field of the
-- job's record ({}: no budget counts it); or nil and why it does not fit: ends, and the text that budget_book.py reads.
-- `write_reserves` writes the sums, once for all calls of a script.
local function reserve_call(book, terms, interactive, record)
  local plan, bound, over = read_plan(book, terms.budgets, record), call_bound(terms.price, record.bound), nil
  local rows = plan.rows
  for i = 1, #rows do
    local row, cause = rows[i], nil
    local limit = interactive and row.budget.limit or row.budget.others_limit
    if not bound or row.spent + row.unconfirmed + row.reserved + bound > limit then
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
  for i = 1, #rows do
    local row = rows[i]
    row.reserved, row.calls, row.changed = row.reserved + bound, row.calls + 1, true
    if row.refusals ~= no_refusals then row.refusals = string.match(row.refusals, '^%d+') .. ' 0' end
  end
  return {'reserve', ms(bound) .. plan.reserve}
end

-- Count a call that did not fit.
local function refuse_call(over)
  local row = over.row
  row.refusals = string.format('%d %d', whole(string.match(row.refusals, '^%d+')) + 1, over.needed)
  row.changed = true
end

-- Write what was reserved, and forget what was read: after it another function may change the sums.
local entries = {}  -- one table for all scripts: a new one would grow with each entry
local function write_reserves(book)
  local read, n = book.read, 0
  for i = 1, #read do
    local row = read[i]
    if row.changed then
      if row.is_new then redis.call('ZADD', BUDGETS, row.ends, row.key) end
      entries[n + 1] = row.key
      entries[n + 2] = string.format('%d %d %d %d %s', row.spent, row.reserved, row.unconfirmed, row.calls, row.refusals)
      n = n + 2
    end
    row.read_by = false
  end
  if n > 0 then redis.call('HSET', BUDGET_SUMS, unpack(entries, 1, n)) end
  if read[1] then book.read = {} end
end

-- The budgets of a script (see budget_book.py), and what it has read and reserved of them; nil: there are none.
local function load_budgets(packed, now)
  if packed == '' then return nil end
  local budgets = decode_once(packed)
  local known = windows_of[budgets]
  if not known or known.size > MAX_PLANS then
    if windows_count >= MAX_DECODED then windows_of, windows_count = {}, 0 end
    known = {size = 0, rows = {}, plans = {}, names = {}}
    windows_of[budgets], windows_count = known, windows_count + 1
  end
  return {budgets = budgets, known = known, now = now, read = {}}
end

-- What scripts do with budgets. A table of functions: a function of Lua may use 60 names of others.
local budgeting = {fits = reserve_call, write = write_reserves}

function budgeting.reserve(book, terms, interactive, record)
  local reserve, over = reserve_call(book, terms, interactive, record)
  if over then refuse_call(over) end
  return reserve, over
end

-- Add what a call cost that has reserved nothing. Returns why it does not fit, if it must.
function budgeting.spend(book, terms, record, cost, must_fit)
  local words, over = table.concat(terms.budgets, ' '), nil
  local names = book.known.names[words] or terms.budgets
  book.known.names[words] = names
  if must_fit then
    over = select(2, reserve_call(book, {budgets = names, price = fixed_price(cost)}, true, record))
    if over then refuse_call(over) end
  end
  for _, row in ipairs(over and {} or read_plan(book, names, record).rows) do
    if must_fit then row.reserved = row.reserved - cost else row.calls = row.calls + 1 end
    row.spent, row.changed = row.spent + cost, true
  end
  write_reserves(book)
  return over and over.text or ''
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

-- What may have been billed stands in the ledger too, in the row of its call, until its cost is known. Returns where:
-- '{day}\n{row}'.
local function note_unconfirmed(id, bound, now)
  local queue, backend, group, producer, job_bound = unpack(redis.call('HMGET', RECORD .. id, 'queue', 'backend', 'group', 'producer', 'bound'))
  if not queue or not backend then return '' end
  local role, task = string.match(job_bound or '', ' (%S+) (%S+)$')
  if role == '-' then role = task end
  local day, row = ledger_day(now), ledger_row({model = model_of(queue), backend = backend, group = quote(group), role = role or '-',
    producer = quote(producer)})
  return day .. '\n' .. add_to_row(day, row, NO_CALL, {'unconfirmed', bound})
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
  if row ~= '' then add_to_row(day, row, NO_CALL, {'unconfirmed', -bound}) end
  redis.call('HDEL', RECORD .. id, field)
end
