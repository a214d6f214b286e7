-- The ledger: sums of calls by day, model, backend and group.
local function ledger_row(entry) return entry.model .. '@' .. entry.backend .. ' ' .. entry.group .. ' ' end
local function ledger_day(now) return LEDGER .. string.sub(iso(now), 1, 10) end

-- Add a call to the sums of its day. `call`: see call_report.lua.
local function add_to_ledger(call, now)
  local day, row = ledger_day(now), ledger_row(call)
  local names, amounts = {row .. 'calls', row .. 'ms'}, {1, call.duration_ms}
  local function add(sum, amount)
    if amount > 0 then names[#names + 1], amounts[#amounts + 1] = row .. sum, amount end
  end
  add('failed', call.error and 1 or 0)
  add('probes', call.is_probe and 1 or 0)
  add('in', call.input_tokens)
  add('out', call.output_tokens)
  if call.cost_nusd then add('nusd', call.cost_nusd) else add('unpriced', 1) end
  local sums, entries = redis.call('HMGET', day, unpack(names)), {}
  for i, name in ipairs(names) do
    entries[2 * i - 1], entries[2 * i] = name, ms(number(sums[i], 0) + amounts[i])
  end
  redis.call('HSET', day, unpack(entries))
  if not sums[1] then redis.call('EXPIRE', day, call.ledger_ttl_s) end
end

-- Count an answer that was given in place of the first choice, if it was. `answer`: model, backend, group, left_home
-- (see substitution.py), ledger_ttl_s; or nil.
local function count_substitution(answer, now)
  if not answer then return end
  local day, row = ledger_day(now), ledger_row(answer)
  if redis.call('HINCRBY', day, row .. 'as_fallback', 1) == 1 then redis.call('EXPIRE', day, answer.ledger_ttl_s) end
  if answer.left_home then redis.call('HINCRBY', day, row .. 'left_home', 1) end
end
