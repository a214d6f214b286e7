-- @include budget_recount
-- Budgets: whether a call fits into each that counts it, and its reserve there (see budget_sums.lua).
local RESERVED_RETRY_MS = 5000

local function budget_word(text)
  return (string.gsub(text, '[^%w_.@-]', function(c) return string.format('=%02X', string.byte(c)) end))
end

-- The most that a call can cost, in nanodollars; nil: it is not known. `bound`: what its job uses at most (see
-- cost_bound.py); of a job without it nothing is known.
local function call_bound(price, bound)
  local thinking, answers, searches, priority = 0, 1, 0, '0'
  local tokens, asked = string.match(bound or '', '^(%d+) (%d+) 0 1 0 0 ')  -- a call has seldom more than a prompt and one answer
  if not tokens then
    tokens, asked, thinking, answers, searches, priority = string.match(bound or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d) ')
    if not tokens then return nil end
  end
  if type(price) ~= 'table' or (priority == '1' and price.priority == 0) then return nil end
  local input, output = price.input, price.output
  tokens, asked = tokens + 0, asked + 0  -- numbers from here on
  if priority == '1' then
    input, output = math.max(input, price.priority_input), math.max(output, price.priority_output)
  end
  if price.long_tokens > 0 and tokens > price.long_tokens then
    input, output = math.max(input, price.long_input), math.max(output, price.long_output)
  end
  local answer = (asked > 0 and asked or price.answer) + thinking
  local most = math.ceil((tokens * input + answers * answer * output) / 1000) + price.request + searches * price.web_search
  return most < MAX_NUMBER and most or MAX_NUMBER - 1
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

-- The books of budgets: the windows now, as worked out for the calls of jobs that are alike, and what a script has read and
-- reserved. They stay from script to script as long as the budgets stay the same (`decode_once`): most of the time of a claim
-- went into new tables.
local MAX_PLANS = 500
local books, books_count = {}, 0

-- Whether a budget counts a call for a job, and whose window it has then.
local CONDITIONS = {'group', 'role', 'task', 'producer'}
local function counts_job(budget, job)
  for _, name in ipairs(CONDITIONS) do
    if budget[name] and budget[name] ~= job[name] then return false end
  end
  return true, budget.each and ':' .. budget_word(job[budget.each]) or ''
end

-- The window of a budget now.
local function current_window(name, budget, who, now)
  local n = #budget.windows
  while n > 1 and now < budget.windows[n - 1][2] do n = n - 1 end
  local window, before = budget.windows[n], budget.windows[n - 1]
  return {key = name .. ':' .. window[1] .. who, shown = name .. who, name = name, who = who, starts = window[3],
    begins = before and before[2] or 0, ends = window[2]}
end

-- The plan of a job: the windows that count its calls, their keys and limits (`others_limits`: for calls that are not
-- interactive), the end of the text of a reserve in them, and from when to when they are the right ones.
local function plan_windows(book, names, job)
  local plan = {windows = {}, keys = {}, limits = {}, others_limits = {}, reserve = '', begins = 0, ends = math.huge}
  for _, name in ipairs(names) do
    local budget = book.budgets[name]
    local counts, who = false, nil
    if budget then counts, who = counts_job(budget, job) end
    if counts then
      local window, n = current_window(name, budget, who, book.now), #plan.keys + 1
      plan.windows[n], plan.keys[n], plan.limits[n], plan.others_limits[n] = window, window.key, budget.limit, budget.others_limit
      plan.reserve = plan.reserve .. ' ' .. window.key
      plan.begins, plan.ends = math.max(plan.begins, window.begins), math.min(plan.ends, window.ends)
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

-- The plans of the jobs that names of budgets count. The names are a table that stays the same from script to script.
local function plans_of(book, names)
  local plans = book.plans[names]
  if not plans then
    local all_alike = count_all_alike(book, names)
    plans = {all_alike = all_alike, fields = all_alike and {'bound'} or {'bound', 'group'}, by_job = {}}
    book.plans[names], book.size = plans, book.size + 1
  end
  return plans
end

-- The plan of a job (see `plan_windows`). `record` has its bound, group and producer.
local function find_plan(book, names, record)
  local plans, job, word = plans_of(book, names), nil, ''
  if not plans.all_alike then
    local role, task = string.match(record.bound or '', ' (%S+) (%S+)$')
    job = {group = record.group or '-', producer = record.producer or '-', role = role or '-', task = task or '-'}
    word = table.concat({job.group, job.producer, job.role, job.task}, '\n')
  end
  local plan = plans.by_job[word]
  if not plan or book.now < plan.begins or book.now >= plan.ends then
    plan = plan_windows(book, names, job or {})
    plans.by_job[word], book.size = plan, book.size + 1
  end
  return plan
end

local function read_sums(keys) return keys[1] and redis.call('HMGET', BUDGET_SUMS, unpack(keys)) or {} end

-- Keep the sums of a plan by their keys: another plan of the same script has some of them too.
local function keep_sums(book)
  book.kept = book.kept or {}
  for i, key in ipairs(book.plan.keys) do book.kept[key] = {sums = book.sums[i], window = book.plan.windows[i]} end
end

-- The plan of a job. `book.sums` are those of its windows (false: none yet), read once for all jobs of a script. Most scripts
-- need one plan.
local function read_plan(book, names, record)
  local plan = find_plan(book, names, record)
  if plan == book.plan then return plan end
  if not book.plan then
    book.sums = read_sums(plan.keys)
  else
    keep_sums(book)
    local unread, kept, sums = {}, book.kept, {}
    for _, key in ipairs(plan.keys) do
      if kept[key] == nil then unread[#unread + 1] = key end
    end
    for i, read in ipairs(read_sums(unread)) do kept[unread[i]] = {sums = read} end
    for i, key in ipairs(plan.keys) do sums[i] = kept[key].sums end
    book.sums = sums
  end
  book.plan = plan
  return plan
end

-- The sums of a window that has none which can be read: of a new one nothing; of another what can be counted, or its whole limit.
function recounting.window(book, i)
  local key, window = book.plan.keys[i], book.plan.windows[i]
  if not book.sums[i] and not redis.call('ZSCORE', BUDGETS, key) then return 0, 0, 0, 0, '' end
  local budget = book.budgets[window.name]
  local spent, unconfirmed, calls = recounting.ledger(budget, window.who, window.starts, book.now, budget_word)
  local reserved = recounting.reserves()[key] or 0
  note_unreadable(BUDGET_SUMS .. ' ' .. key, spent and 'is counted again from the ledger'
    or 'counts as spent: the ledger does not reach as far back. Raise the budget')
  if not spent then spent, unconfirmed, calls = budget.limit, 0, 0 end
  book.sums[i], book.changed = pack_sums(spent, reserved, unconfirmed, calls, ''), true
  return spent, reserved, unconfirmed, calls, ''
end

function recounting.sums(book, i)
  local spent, reserved, unconfirmed, calls, refusals = unpack_sums(book.plan.keys[i], book.sums[i])
  if not spent then return recounting.window(book, i) end
  return spent, reserved, unconfirmed, calls, refusals
end

-- Why a call does not fit into the window of a budget, if it is that of the budgets which lasts longest; or `over`, which is
-- that of another.
local function longest_over(book, over, i, bound, limit, spent, reserved, unconfirmed)
  local window, cause = book.plan.windows[i], nil
  limit = limit + raised_by(book, window.name)
  if not bound then
    cause = 'unpriced'
  elseif bound > limit then
    cause = 'above_limit'
  elseif spent + unconfirmed + bound > limit then
    cause = 'spent'
  elseif spent + unconfirmed + reserved + bound > limit then
    cause = 'reserved'
  end
  local ends = cause == 'reserved' and book.now + RESERVED_RETRY_MS or window.ends
  if not cause or (over and ends <= over.ends) then return over end
  return {ends = ends, number = i, needed = bound or 0, text = table.concat({window.shown, ms(ends), cause, ms(spent), ms(reserved),
    ms(unconfirmed), ms(limit), ms(bound or 0)}, ' ')}
end

-- Reserve a call in every budget that counts it. `terms`: the budgets and the price of a backend. Returns the field of the
-- job's record ({}: no budget counts it); or nil and why it does not fit: ends, and the text that budget_book.py reads.
-- `write_reserves` writes the sums, once for all calls of a script.
local with_call, reserve_field = {}, {'reserve'}  -- for all scripts
local function reserve_call(book, terms, interactive, record)
  local plan, bound, over = read_plan(book, terms.budgets, record), call_bound(terms.price, record.bound), nil
  local keys, sums, limits, pack = plan.keys, book.sums, interactive and plan.limits or plan.others_limits, struct.pack
  for i = 1, #keys do
    local spent, reserved, unconfirmed, calls, refusals = unpack_sums(keys[i], sums[i])
    if not spent then spent, reserved, unconfirmed, calls, refusals = recounting.window(book, i) end
    if not bound or spent + unconfirmed + reserved + bound > limits[i] then
      over = longest_over(book, over, i, bound, limits[i], spent, reserved, unconfirmed)
    end
    with_call[i] = pack(SUMS, spent, reserved + (bound or 0), unconfirmed, calls + 1)
    if refusals ~= '' then with_call[i] = with_call[i] .. pack(REFUSALS, refused_of(refusals), 0) end
  end
  if over then return nil, over end
  if not keys[1] then return {} end
  book.sums, with_call, book.changed = with_call, sums, true
  reserve_field[2] = ms(bound) .. plan.reserve
  return reserve_field
end

-- Count a call that did not fit.
local function refuse_call(book, over)
  local i = over.number
  local spent, reserved, unconfirmed, calls, refusals = recounting.sums(book, i)
  book.sums[i] = pack_sums(spent, reserved, unconfirmed, calls, struct.pack(REFUSALS, refused_of(refusals) + 1, over.needed))
  book.changed = true
end

-- The windows whose sums a script has read, and these.
local function windows_read(book)
  if not book.kept then return book.plan.windows, book.sums end
  keep_sums(book)
  local windows, sums = {}, {}
  for _, kept in pairs(book.kept) do windows[#windows + 1], sums[#sums + 1] = kept.window, kept.sums end
  return windows, sums
end

-- Write what was reserved, and forget what was read: after it another function may change the sums.
local entries = {}  -- one table for all scripts: a new one would grow with each entry
local function write_reserves(book)
  if book.changed then
    local windows, sums = windows_read(book)
    local n = 0
    for i = 1, #windows do
      if sums[i] then
        entries[n + 1], entries[n + 2] = windows[i].key, sums[i]
        n = n + 2
      end
    end
    if redis.call('HSET', BUDGET_SUMS, unpack(entries, 1, n)) > 0 then  -- a window is new: its end is noted
      for i = 1, #windows do
        if sums[i] then redis.call('ZADD', BUDGETS, windows[i].ends, windows[i].key) end
      end
    end
  end
  book.plan, book.kept, book.changed = false, false, false
end

-- The book of budgets for a script.
local function open_book(budgets, now)
  local book = books[budgets]
  if not book or book.size > MAX_PLANS then
    if books_count >= MAX_DECODED then books, books_count = {}, 0 end
    -- All fields are there from the start: with a new one Lua lays out the table again.
    book = {budgets = budgets, size = 0, plans = {}, names = {}, now = now, plan = false, sums = false, kept = false, raises = false,
      changed = false}
    books[budgets], books_count = book, books_count + 1
  end
  book.now, book.plan, book.kept, book.raises, book.changed = now, false, false, false, false
  return book
end
local function load_budgets(packed, now) return packed ~= '' and open_book(decode_once(packed), now) or nil end

-- What scripts do with budgets. A table of functions: a function of Lua may use 60 names of others.
local budgeting = {fits = reserve_call, write = write_reserves}

-- The fields of a job's record that a reserve needs beside those of every job.
function budgeting.record_fields(book, terms) return plans_of(book, terms.budgets).fields end

function budgeting.reserve(book, terms, interactive, record)
  local reserve, over = reserve_call(book, terms, interactive, record)
  if over then refuse_call(book, over) end
  return reserve, over
end

-- Add what a call cost that has reserved nothing. Returns why it does not fit, if it must.
function budgeting.spend(book, terms, record, cost, must_fit)
  local words, over = table.concat(terms.budgets, ' '), nil
  local names = book.names[words] or terms.budgets
  book.names[words] = names
  if must_fit then
    over = select(2, reserve_call(book, {budgets = names, price = fixed_price(cost)}, true, record))
    if over then refuse_call(book, over) end
  end
  for i in ipairs(over and {} or read_plan(book, names, record).keys) do
    local spent, reserved, unconfirmed, calls, refusals = recounting.sums(book, i)
    if must_fit then reserved = reserved - cost else calls = calls + 1 end
    book.sums[i], book.changed = pack_sums(spent + cost, reserved, unconfirmed, calls, refusals), true
  end
  write_reserves(book)
  return over and over.text or ''
end
