-- The ledger: sums of calls by day, model, backend and group; and by day and caller: a role, or a producer.
local function ledger_row(entry) return entry.model .. '@' .. entry.backend .. ' ' .. entry.group .. ' ' end
local function ledger_day(now) return LEDGER .. date(now) end

-- Add changes to packed sums: a text of pairs `SUM AMOUNT`. What is no pair there is lost.
local function add_to_packed(text, changes)
  local sums, order, parts = {}, {}, {}
  for sum, amount in string.gmatch(text or '', '(%S+) (%S+)') do
    sums[sum], order[#order + 1] = number(amount, 0), sum
  end
  for i = 1, #changes, 2 do
    local sum = changes[i]
    if not sums[sum] then sums[sum], order[#order + 1] = 0, sum end
    sums[sum] = sums[sum] + changes[i + 1]
  end
  for i, sum in ipairs(order) do parts[i] = sum .. ' ' .. ms(sums[sum]) end
  return table.concat(parts, ' ')
end

-- Change the same sums of a row, and of those of callers, by amounts, with two commands. `callers`: {kind, name} of each.
-- The sums of a caller are packed into one field: as fields of their own they would double the time of a settle's ledger.
-- A day has at most `max_callers` names of a kind; the calls of further ones are in the row `*`, with one command more.
local function change_rows(day, row, changes, ttl_s, callers, max_callers)
  local names, entries, width = {}, {}, #changes / 2
  for i = 1, width do names[i] = row .. changes[2 * i - 1] end
  for i, caller in ipairs(callers) do
    names[width + i] = '@' .. caller[1] .. ' ' .. caller[2]
    names[width + #callers + i] = '@callers ' .. caller[1]
  end
  local values = redis.call('HMGET', day, unpack(names))
  for i = 1, width do
    entries[2 * i - 1], entries[2 * i] = names[i], ms(number(values[i], 0) + changes[2 * i])
  end
  for i, caller in ipairs(callers) do
    local name, packed, known = names[width + i], values[width + i], number(values[width + #callers + i], 0)
    if not packed and known < max_callers then
      entries[#entries + 1], entries[#entries + 2] = '@callers ' .. caller[1], ms(known + 1)
    elseif not packed then
      name = '@' .. caller[1] .. ' *'
      packed = redis.call('HGET', day, name)
    end
    entries[#entries + 1], entries[#entries + 2] = name, add_to_packed(packed, changes)
  end
  redis.call('HSET', day, unpack(entries))
  if not values[1] then redis.call('EXPIRE', day, ttl_s) end
end
local function change_row(day, row, changes, ttl_s) change_rows(day, row, changes, ttl_s, {}, 0) end

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
  for _, cell in ipairs(call.buckets) do add(cell, 1) end
  change_rows(day, row, changes, call.ledger_ttl_s, call.callers, call.max_callers)
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
