-- The ledger: the sums of calls by day. A row for each model, backend, group, role and producer that has had calls together:
-- '{model}@{backend} {group} {role} {producer}' -> '{calls} {ms} {in} {out} {nusd} {unpriced} {longest ms} {dearest nusd}[ {SUM}
-- {AMOUNT}]...', so that a call costs one command to read and one to write. A reader adds up the rows that are alike.
-- A day has at most MAX_LEDGER_ROWS rows: the calls of further ones are in rows of the producer `*`.
local LEDGER_TTL_S, MAX_LEDGER_ROWS = 100 * 86400, 1000
local NO_CALL = {0, 0, 0, 0, 0, 0, 0, 0}
local row_pattern = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)(.*)$'

local function ledger_row(entry)
  return entry.model .. '@' .. entry.backend .. ' ' .. entry.group .. ' ' .. entry.role .. ' ' .. entry.producer
end
local function ledger_day(now) return LEDGER .. date(now) end

-- A name as a word of a row: as `quote` of Python writes it.
local function quote(name)
  if not name or name == '' then return '-' end
  return (string.gsub(name, '[^%w_.~-]', function(c) return string.format('%%%02X', string.byte(c)) end))
end

-- A number that a text has; 0 for one that no sum can take.
local function amount(digits) return number(digits, 0) end

-- Add to the sum of a name in a text ` SUM AMOUNT`... What follows a sum without an amount is lost.
local function add_sum(text, name, change)
  local word = ' ' .. name .. ' '
  local _, at = string.find(text, word, 1, true)
  if not at then return text .. word .. ms(change) end
  local _, last, digits = string.find(text, '^(-?%d+)', at + 1)
  if not last then return string.sub(text, 1, at) .. ms(change) end
  return string.sub(text, 1, at) .. ms(amount(digits) + change) .. string.sub(text, last + 1)
end

-- Add to a row. `call`: its first eight numbers; `more`: name, amount... Returns the row.
local function add_to_row(day, row, call, more)
  local text = redis.call('HGET', day, row)
  local is_new = not text
  if is_new and redis.call('HLEN', day) >= MAX_LEDGER_ROWS then
    row = string.gsub(row, '%S+$', '*')
    text = redis.call('HGET', day, row)
  end
  local calls, time, input, output, nusd, unpriced, longest, dearest, rest = string.match(text or '', row_pattern)
  if not calls then calls, time, input, output, nusd, unpriced, longest, dearest, rest = 0, 0, 0, 0, 0, 0, 0, 0, '' end
  for i = 1, #more, 2 do rest = add_sum(rest, more[i], more[i + 1]) end
  redis.call('HSET', day, row, string.format('%d %d %d %d %d %d %d %d%s', amount(calls) + call[1], amount(time) + call[2],
    amount(input) + call[3], amount(output) + call[4], amount(nusd) + call[5], amount(unpriced) + call[6],
    math.max(amount(longest), call[7]), math.max(amount(dearest), call[8]), rest))
  if is_new then redis.call('EXPIRE', day, LEDGER_TTL_S) end
  return row
end

-- A call that cost, although a model before it costs nothing: see unexpected_spend.py.
local function add_unexpected(call, now)
  local day, row = UNEXPECTED .. date(now), call.group .. ' ' .. call.instead_of .. ' ' .. call.model .. ' ' .. call.instead_why
  redis.call('HINCRBY', day, 'calls ' .. row, 1)
  redis.call('HINCRBY', day, 'nusd ' .. row, ms(call.cost_nusd))
  redis.call('HSET', day, 'last', ms(now))
  redis.call('EXPIRE', day, LEDGER_TTL_S)
end

-- Add a call to the sums of its day. `call`: see call_report.lua.
local function add_to_ledger(call, now)
  add_to_row(ledger_day(now), ledger_row(call), {1, call.duration_ms, call.input_tokens, call.output_tokens,
    call.cost_nusd or 0, call.cost_nusd and 0 or 1, call.duration_ms, call.cost_nusd or 0}, call.more)
  if call.instead_of and call.cost_nusd then add_unexpected(call, now) end
end

-- Count an answer that was given in place of the first choice, if it was. `answer`: model, backend, group, role, producer,
-- left_home (see substitution.py); or nil.
local function count_substitution(answer, now)
  if not answer then return end
  add_to_row(ledger_day(now), ledger_row(answer), NO_CALL, {'as_fallback', 1, answer.left_home and 'left_home' or nil,
    answer.left_home and 1 or nil})
end
