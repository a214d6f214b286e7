-- Budgets. Before a call the claim reserves the most that it can cost in every budget that counts it; the script that ends
-- its lease ends the reserve. A hash BUDGET..{budget}:{window}[:{who}] has nanodollars: spent (known costs), reserved (calls
-- in flight) and unconfirmed (calls that may have been billed, and whose cost is not known). No call is made with which their
-- sum could exceed the limit. The record of a job has `reserve` while its call is in flight: '{nanodollars} {budget}...'.
local BUDGET_TTL_S, RESERVED_RETRY_MS = 100 * 86400, 5000

local function budget_word(text)
  return (string.gsub(text, '[^%w_.@-]', function(c) return string.format('=%02X', string.byte(c)) end))
end

-- What a job uses at most (see cost_bound.py), and whose it is. Of a job without it nothing is known.
local function budgeted_job(id)
  local row = redis.call('HMGET', RECORD .. id, 'bound', 'group', 'producer')
  local input, output, thinking, answers, searches, dear, role, task =
    string.match(row[1] or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d) (%S+) (%S+)$')
  local job = {group = row[2] or '-', producer = row[3] or '-', role = role or '-', task = task or '-', known = input ~= nil}
  job.input, job.output, job.thinking = number(input, 0), number(output, 0), number(thinking, 0)
  job.answers, job.searches, job.dear = number(answers, 1), number(searches, 0), dear == '1'
  return job
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

-- The window of a budget that counts a call for a job, read once for all jobs of a script; nil: it does not count it.
local function counting_window(book, name, job)
  local budget = book.budgets[name]
  if not budget or (budget.group and budget.group ~= job.group) or (budget.role and budget.role ~= job.role)
    or (budget.task and budget.task ~= job.task) or (budget.producer and budget.producer ~= job.producer) then
    return nil
  end
  local who = budget.each and ':' .. budget_word(job[budget.each]) or ''
  local shown = name .. who
  local row = book.rows[shown]
  if row then return row end
  local windows = budget.windows
  local window = windows[#windows]
  for i = #windows, 1, -1 do
    if book.now < windows[i][2] then window = windows[i] end
  end
  local key = name .. ':' .. window[1] .. who
  local sums = redis.call('HMGET', BUDGET .. key, 'spent', 'reserved', 'unconfirmed', 'calls')
  row = {key = key, shown = shown, ends = window[2], is_new = not (sums[1] or sums[2] or sums[3]), changed = false,
    spent = number(sums[1], 0), reserved = number(sums[2], 0), unconfirmed = number(sums[3], 0), calls = number(sums[4], 0)}
  book.rows[shown] = row
  return row
end

-- Why a call does not fit into a budget; nil: it fits.
local function over_cause(row, bound, limit)
  if not bound then return 'unpriced' end
  if bound > limit then return 'too_dear' end
  if row.spent + row.unconfirmed + bound > limit then return 'spent' end
  return row.spent + row.unconfirmed + row.reserved + bound > limit and 'reserved' or nil
end

-- Reserve a call in every budget of a backend that counts it. Returns the field of the job's record ({}: no budget counts it);
-- or nil and why it does not fit: ends, and the text that budget_book.py reads. `write_reserves` writes the sums, once for all
-- calls of a script.
local function reserve_call(book, backend, interactive, id)
  local job, rows = budgeted_job(id), {}
  local bound, over = call_bound(backend.price, job), nil
  for _, name in ipairs(backend.budgets) do
    local row = counting_window(book, name, job)
    if row then
      rows[#rows + 1] = row
      local budget = book.budgets[name]
      local limit = interactive and budget.limit or budget.others_limit
      local cause = over_cause(row, bound, limit)
      if cause then
        limit = limit + raised_by(book, name)
        cause = over_cause(row, bound, limit)
      end
      local ends = cause == 'reserved' and book.now + RESERVED_RETRY_MS or row.ends
      if cause and (not over or ends > over.ends) then
        over = {ends = ends, row = row, text = table.concat({row.shown, ms(ends), cause, ms(row.spent), ms(row.reserved),
          ms(row.unconfirmed), ms(limit), ms(bound or 0)}, ' ')}
      end
    end
  end
  if over then return nil, over end
  if not rows[1] then return {} end
  local reserve = ms(bound)
  for _, row in ipairs(rows) do
    row.reserved, row.calls, row.changed = row.reserved + bound, row.calls + 1, true
    reserve = reserve .. ' ' .. row.key
  end
  return {'reserve', reserve}
end

local function note_budget(row)
  redis.call('EXPIRE', BUDGET .. row.key, BUDGET_TTL_S)
  redis.call('ZADD', BUDGETS, row.ends, row.key)
end

-- Write what was reserved, and forget what was read: after it another function may change the sums.
local function write_reserves(book)
  for _, row in pairs(book.rows) do
    if row.changed then
      redis.call('HSET', BUDGET .. row.key, 'reserved', ms(row.reserved), 'calls', ms(row.calls))
      if row.is_new then note_budget(row) end
    end
  end
  book.rows = {}
end

-- The budgets of a script (see budget_book.py), and what it has read and reserved of them; nil: there are none. A table of
-- functions: a function of Lua may use 60 names of others.
local function load_budgets(packed, now)
  if packed == '' then return nil end
  local book = {budgets = decode_once(packed), now = now, rows = {}}
  function book.fits(backend, interactive, id) return reserve_call(book, backend, interactive, id) end
  function book.reserve(backend, interactive, id)
    local reserve, over = reserve_call(book, backend, interactive, id)
    if over and redis.call('HINCRBY', BUDGET .. over.row.key, 'refused', 1) == 1 then note_budget(over.row) end
    return reserve, over
  end
  function book.write() write_reserves(book) end
  return book
end

-- End the reserve of a delivery. `cost`: what the call cost; nil: it may have been billed, and the cost is not known yet.
local function end_reserve(id, token, reserve, cost)
  if not reserve then return end
  local bound = number(string.match(reserve, '^%d+'), 0)
  for key in string.gmatch(reserve, ' (%S+)') do
    redis.call('HINCRBY', BUDGET .. key, 'reserved', ms(-bound))
    if not cost then
      redis.call('HINCRBY', BUDGET .. key, 'unconfirmed', ms(bound))
    elseif cost > 0 then
      redis.call('HINCRBY', BUDGET .. key, 'spent', ms(cost))
    end
  end
  redis.call('HDEL', RECORD .. id, 'reserve')
  if not cost then redis.call('HSET', RECORD .. id, 'unconfirmed:' .. (token or ''), reserve) end
  if cost and cost > bound then count('reserve_exceeded') end
end

-- The cost of a delivery is known after all.
local function confirm_cost(id, token, cost)
  local field = 'unconfirmed:' .. token
  local reserve = cost and redis.call('HGET', RECORD .. id, field)
  if not reserve then return end
  local bound = number(string.match(reserve, '^%d+'), 0)
  for key in string.gmatch(reserve, ' (%S+)') do
    redis.call('HINCRBY', BUDGET .. key, 'unconfirmed', ms(-bound))
    if cost > 0 then redis.call('HINCRBY', BUDGET .. key, 'spent', ms(cost)) end
  end
  redis.call('HDEL', RECORD .. id, field)
end
