-- @include budget_recount
-- @include budget_raises
-- Budgets: whether a call fits into each that counts it, and its reserve there (see budget_sums.lua).
-- A table of functions, and a block: a script may have 200 locals, and a function of it may use 60 names of others.
local budgeting = {}
do
  local RESERVED_RETRY_MS = 5000

  -- What a script has, in local variables, since Lua reads a field of a table more slowly: its book, the time, the plan of its
  -- last job, the sums of all its plans by their keys (nil: one plan, whose windows are all in Redis), what limits are raised by,
  -- and whether sums have changed. `budgeting.open` clears what the script before has left.
  local book, book_now, plan, kept, raises, changed

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
    local input, output, long_tokens = price.input, price.output, price.long_tokens
    tokens, asked = tokens + 0, asked + 0  -- numbers from here on
    if priority == '1' then
      input, output = math.max(input, price.priority_input), math.max(output, price.priority_output)
    end
    if long_tokens > 0 and tokens > long_tokens then
      input, output = math.max(input, price.long_input), math.max(output, price.long_output)
    end
    local answer = (asked > 0 and asked or price.answer) + thinking
    local cost = (tokens * input + answers * answer * output) / 1000
    cost = cost - cost % -1  -- rounded up: `math.ceil` takes 600 instructions
    local most = cost + price.request + searches * price.web_search
    return most < MAX_NUMBER and most or MAX_NUMBER - 1
  end

  -- The price of a call whose whole cost is known before it is made.
  local function fixed_price(cost)
    return {input = 0, output = 0, request = cost, web_search = 0, answer = 0, long_tokens = 0, priority = 0}
  end

  -- What a limit is raised by. It is read only when a call does not fit without it.
  local function raised_by(name)
    if not raises then
      raises = {}
      local rows = redis.call('HGETALL', BUDGET_RAISES)
      for i = 1, #rows, 2 do
        raises[rows[i]] = select(2, active_raises(rows[i + 1], book_now))
      end
    end
    return raises[name] or 0
  end

  -- The books of budgets: the windows now, as worked out for the calls of jobs that are alike. They stay from script to script as
  -- long as the budgets stay the same (`decode_once`): most of the time of a claim went into new tables.
  local MAX_PLANS = 500
  local books, books_count = {}, 0

  -- Open the book of budgets for a script: before all else.
  function budgeting.open(budgets, now)
    book, book_now, plan, kept, raises, changed = books[budgets], now, nil, nil, nil, false
    if not book or book.size > MAX_PLANS then
      if books_count >= MAX_DECODED then books, books_count = {}, 0 end
      book = {budgets = budgets, size = 0, plans = {}, names = {}}
      books[budgets], books_count = book, books_count + 1
    end
  end

  -- Whether a budget counts a call for a job, and whose window it has then.
  local CONDITIONS = {'group', 'role', 'task', 'producer'}
  local function counts_job(budget, job)
    for _, name in ipairs(CONDITIONS) do
      if budget[name] and budget[name] ~= job[name] then return false end
    end
    return true, budget.each and ':' .. budget_word(job[budget.each]) or ''
  end

  -- The window of a budget now.
  local function current_window(name, budget, who)
    local n = #budget.windows
    while n > 1 and book_now < budget.windows[n - 1][2] do n = n - 1 end
    local window, before = budget.windows[n], budget.windows[n - 1]
    return {key = name .. ':' .. window[1] .. who, shown = name .. who, name = name, who = who, starts = window[3],
      begins = before and before[2] or 0, ends = window[2]}
  end

  -- The plan of a job: the windows that count its calls, their keys and limits (`others_limits`: for calls that are not
  -- interactive), the end of the text of a reserve in them, and from when to when they are the right ones. Their sums (false:
  -- none yet) are as HSET takes them: key, sums, key, sums ... `with_call`: those with the call that is being reserved.
  local function plan_windows(names, job)
    local new = {windows = {}, keys = {}, limits = {}, others_limits = {}, sums = {}, with_call = {}, reserve = '', begins = 0,
      ends = math.huge}
    for _, name in ipairs(names) do
      local budget = book.budgets[name]
      local counts, who = false, nil
      if budget then counts, who = counts_job(budget, job) end
      if counts then
        local window, n = current_window(name, budget, who), #new.keys + 1
        new.windows[n], new.keys[n], new.limits[n], new.others_limits[n] = window, window.key, budget.limit, budget.others_limit
        for _, sums in ipairs({new.sums, new.with_call}) do sums[2 * n - 1], sums[2 * n] = window.key, false end
        new.reserve = new.reserve .. ' ' .. window.key
        new.begins, new.ends = math.max(new.begins, window.begins), math.min(new.ends, window.ends)
      end
    end
    return new
  end

  -- Whether budgets count the calls of every job in the same windows.
  local function count_all_alike(names)
    for _, name in ipairs(names) do
      local budget = book.budgets[name] or {}
      if budget.group or budget.role or budget.task or budget.producer or budget.each then return false end
    end
    return true
  end

  -- The plans of the jobs that names of budgets count: none yet. The names are a table that stays the same from script to script.
  local function add_plans(names)
    local all_alike = count_all_alike(names)
    local plans = {all_alike = all_alike, fields = all_alike and {'bound'} or {'bound', 'group'}, by_job = {}}
    book.plans[names], book.size = plans, book.size + 1
    return plans
  end

  -- The fields of a job's record that a reserve needs beside those of every job.
  function budgeting.record_fields(terms) return (book.plans[terms.budgets] or add_plans(terms.budgets)).fields end

  -- The plan of a job (see `plan_windows`). `record` has its bound, group and producer.
  local function find_plan(names, record)
    local plans, job, word = book.plans[names] or add_plans(names), nil, ''
    if not plans.all_alike then
      local role, task = string.match(record.bound or '', ' (%S+) (%S+)$')
      job = {group = record.group or '-', producer = record.producer or '-', role = role or '-', task = task or '-'}
      word = table.concat({job.group, job.producer, job.role, job.task}, '\n')
    end
    local found = plans.by_job[word]
    if not found or book_now < found.begins or book_now >= found.ends then
      found = plan_windows(names, job or {})
      plans.by_job[word], book.size = found, book.size + 1
    end
    return found
  end

  -- Read the sums of windows into a list where each stands behind its key. Returns whether every window has some.
  local function read_sums(keys, sums)
    local read, has_all = keys[1] and redis.call('HMGET', BUDGET_SUMS, unpack(keys)) or keys, true
    for i = 1, #keys do
      sums[2 * i] = read[i]
      if not read[i] then has_all = false end
    end
    return has_all
  end

  -- Keep the sums of the plan by their keys.
  local function keep_sums()
    kept = kept or {}
    for i, key in ipairs(plan.keys) do kept[key] = {sums = plan.sums[2 * i], ends = plan.windows[i].ends} end
  end

  -- Go on to the plan of a job, and read the sums of its windows, once for all jobs of a script. Most scripts need one plan; a
  -- second one may have some of its windows too.
  local function read_plan(names, record)
    local found = find_plan(names, record)
    if found == plan then return end
    if not plan then
      plan = found
      if not read_sums(plan.keys, plan.sums) then keep_sums() end
      return
    end
    keep_sums()
    local unread, read = {}, {}
    for _, key in ipairs(found.keys) do
      if not kept[key] then unread[#unread + 1] = key end
    end
    read_sums(unread, read)
    for i, key in ipairs(unread) do kept[key] = {sums = read[2 * i]} end
    for i, key in ipairs(found.keys) do found.sums[2 * i] = kept[key].sums end
    plan = found
  end

  -- The sums of a window that has none which can be read: of a new one nothing; of another what can be counted, or its whole limit.
  local function count_again(i)
    local key, window = plan.keys[i], plan.windows[i]
    if not plan.sums[2 * i] and not redis.call('ZSCORE', BUDGETS, key) then return 0, 0, 0, 0 end
    local budget = book.budgets[window.name]
    local spent, unconfirmed, calls = recounting.ledger(budget, window.who, window.starts, book_now, budget_word)
    local reserved = recounting.reserves()[key] or 0
    note_unreadable(BUDGET_SUMS .. ' ' .. key, spent and 'is counted again from the ledger'
      or 'counts as spent: the ledger does not reach as far back. Raise the budget')
    if not spent then spent, unconfirmed, calls = budget.limit, 0, 0 end
    plan.sums[2 * i], changed = pack_sums(spent, reserved, unconfirmed, calls), true
    return spent, reserved, unconfirmed, calls
  end

  -- The sums of a window of the plan, and what stands behind them (see `unpack_sums`).
  local function sums_of(i)
    local spent, reserved, unconfirmed, calls, refusals = unpack_sums(plan.keys[i], plan.sums[2 * i])
    if not spent then return count_again(i) end
    return spent, reserved, unconfirmed, calls, refusals
  end

  -- Why a call does not fit into the window of a budget, if it is that of the budgets which lasts longest; or `over`, which is
  -- that of another.
  local function longest_over(over, i, bound, limit, spent, reserved, unconfirmed)
    local window, cause = plan.windows[i], nil
    limit = limit + raised_by(window.name)
    if not bound then
      cause = 'unpriced'
    elseif bound > limit then
      cause = 'above_limit'
    elseif spent + unconfirmed + bound > limit then
      cause = 'spent'
    elseif spent + unconfirmed + reserved + bound > limit then
      cause = 'reserved'
    end
    local ends = cause == 'reserved' and book_now + RESERVED_RETRY_MS or window.ends
    if not cause or (over and ends <= over.ends) then return over end
    return {ends = ends, number = i, needed = bound or 0, text = table.concat({window.shown, ms(ends), cause, ms(spent), ms(reserved),
      ms(unconfirmed), ms(limit), ms(bound or 0)}, ' ')}
  end

  -- Reserve a call in every budget that counts it. `terms`: the budgets and the price of a backend. Returns the field of the
  -- job's record ({}: no budget counts it); or nil and why it does not fit: ends, and the text that budget_book.py reads.
  -- `budgeting.write` writes the sums, once for all calls of a script.
  local reserve_field = {'reserve'}  -- for all scripts
  function budgeting.reserve(terms, interactive, record)
    read_plan(terms.budgets, record)
    local bound, over = call_bound(terms.price, record.bound), nil
    local keys, sums, with_call, limits = plan.keys, plan.sums, plan.with_call, interactive and plan.limits or plan.others_limits
    local pack, unpack = struct.pack, struct.unpack
    for i = 1, #keys do
      local packed = sums[2 * i]
      local spent, reserved, unconfirmed, calls, refusals
      -- Most sums can be read and have no refusals. `sums_of`, which is for all, takes twice as long.
      if packed and #packed == SUMS_BYTES then spent, reserved, unconfirmed, calls = unpack(SUMS, packed) end
      if not spent or spent + reserved + unconfirmed + calls >= MAX_NUMBER then
        spent, reserved, unconfirmed, calls, refusals = sums_of(i)
      end
      if not bound or spent + reserved + unconfirmed + bound > limits[i] then
        over = longest_over(over, i, bound, limits[i], spent, reserved, unconfirmed)
      end
      packed = pack(SUMS, spent, reserved + (bound or 0), unconfirmed, calls + 1)
      with_call[2 * i] = refusals and packed .. pack(REFUSALS, refused_of(refusals), 0) or packed
    end
    if over then return nil, over end
    if not keys[1] then return {} end
    plan.sums, plan.with_call, changed = with_call, sums, true
    reserve_field[2] = string.format('%d%s', bound, plan.reserve)
    return reserve_field
  end

  -- Count a call that did not fit.
  function budgeting.refuse(over)
    local i = over.number
    local spent, reserved, unconfirmed, calls, refusals = sums_of(i)
    plan.sums[2 * i] = pack_sums(spent, reserved, unconfirmed, calls, struct.pack(REFUSALS, refused_of(refusals) + 1, over.needed))
    changed = true
  end

  -- Write the sums of all plans. A window that had none, and in which nothing was reserved, gets none.
  local function write_kept()
    keep_sums()
    local entries, ends = {}, {}
    for key, window in pairs(kept) do
      if window.sums then
        local n = #entries
        entries[n + 1], entries[n + 2], ends[n + 1], ends[n + 2] = key, window.sums, window.ends, key
      end
    end
    -- A window is new: its end is noted.
    if redis.call('HSET', BUDGET_SUMS, unpack(entries)) > 0 then redis.call('ZADD', BUDGETS, unpack(ends)) end
  end

  -- Write what was reserved, and forget what was read: after it another function may change the sums.
  function budgeting.write()
    if changed and kept then
      write_kept()
    elseif changed then
      redis.call('HSET', BUDGET_SUMS, unpack(plan.sums))
    end
    plan, kept, changed = nil, nil, false
  end

  -- Add what a call cost that has reserved nothing to the budgets (JSON, or '') that count it. Returns why it does not fit ('':
  -- it fits), if it must.
  function budgeting.spend(budgets, now, terms, record, cost, must_fit)
    if budgets == '' then return '' end
    budgeting.open(decode_once(budgets), now)
    local words, over = table.concat(terms.budgets, ' '), nil
    local names = book.names[words] or terms.budgets
    book.names[words] = names
    if must_fit then
      over = select(2, budgeting.reserve({budgets = names, price = fixed_price(cost)}, true, record))
      if over then budgeting.refuse(over) end
    else
      read_plan(names, record)
    end
    for i = 1, over and 0 or #plan.keys do
      local spent, reserved, unconfirmed, calls, refusals = sums_of(i)
      if must_fit then reserved = reserved - cost else calls = calls + 1 end
      plan.sums[2 * i], changed = pack_sums(spent + cost, reserved, unconfirmed, calls, refusals), true
    end
    budgeting.write()
    return over and over.text or ''
  end
end
