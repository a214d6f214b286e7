-- The ledger: sums of calls by day, model, backend and group.
local function ledger_row(entry) return entry.model .. '@' .. entry.backend .. ' ' .. entry.group .. ' ' end
local function ledger_day(now) return LEDGER .. date(now) end

-- Change sums of one row by amounts, with two commands.
local function change_row(day, row, changes, ttl_s)
  local names, entries = {}, {}
  for i = 1, #changes, 2 do names[#names + 1] = row .. changes[i] end
  local sums = redis.call('HMGET', day, unpack(names))
  for i, name in ipairs(names) do
    entries[2 * i - 1], entries[2 * i] = name, ms(number(sums[i], 0) + changes[2 * i])
  end
  redis.call('HSET', day, unpack(entries))
  if not sums[1] then redis.call('EXPIRE', day, ttl_s) end
end

-- A call that cost, although a model before it costs nothing: see unexpected_spend.py.
local function add_unexpected(call, now)
  local day, row = UNEXPECTED .. date(now), call.group .. ' ' .. call.instead_of .. ' ' .. call.model .. ' ' .. call.instead_why
  redis.call('HINCRBY', day, 'calls ' .. row, 1)
  redis.call('HINCRBY', day, 'nusd ' .. row, ms(call.cost_nusd))
  redis.call('HSET', day, 'last', ms(now))
  redis.call('EXPIRE', day, call.ledger_ttl_s)
end

-- Add a call to the sums of its day. `call`: see call_report.lua.
local function add_to_ledger(call, now)
  local day, row = ledger_day(now), ledger_row(call)
  local changes = {'calls', 1, 'ms', call.duration_ms}
  local function add(sum, amount)
    if amount ~= 0 then changes[#changes + 1], changes[#changes + 2] = sum, amount end
  end
  add('failed', call.error and 1 or 0)
  add('probes', call.is_probe and 1 or 0)
  add('in', call.input_tokens)
  add('out', call.output_tokens)
  for sum, amount in pairs(call.more or {}) do add(sum, amount) end
  if call.cost_nusd then add('nusd', call.cost_nusd) else add('unpriced', 1) end
  change_row(day, row, changes, call.ledger_ttl_s)
  if call.instead_of and call.cost_nusd then add_unexpected(call, now) end
end

-- Count an answer that was given in place of the first choice, if it was. `answer`: model, backend, group, left_home
-- (see substitution.py), ledger_ttl_s; or nil.
local function count_substitution(answer, now)
  if not answer then return end
  local day, row = ledger_day(now), ledger_row(answer)
  if redis.call('HINCRBY', day, row .. 'as_fallback', 1) == 1 then redis.call('EXPIRE', day, answer.ledger_ttl_s) end
  if answer.left_home then redis.call('HINCRBY', day, row .. 'left_home', 1) end
end
