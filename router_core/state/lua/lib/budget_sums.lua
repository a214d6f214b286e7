-- @include ledger
-- Budgets. Before a call the claim reserves the most that it can cost in every budget that counts it; the script that ends
-- its lease ends the reserve. BUDGET_SUMS has a field for each {budget}:{window}[:{who}]: spent, reserved, unconfirmed and calls,
-- in nanodollars but for the count: known costs, calls in flight, calls that may have been billed and whose cost is not known.
-- No call is made with which these three could exceed the limit. Once a call did not fit, refused and needed stand behind: how
-- many did not, and what the last of them may cost, 0 once a call fits. One hash, one value for each window: a script reads all
-- windows of a call with one command, and writes them with one. The record of a job has `reserve` while its call is in flight:
-- '{nanodollars} {budget}...'. Each number has 8 bytes, the lowest first: to read and write digits would cost as much as the rest.
local SUMS, SUMS_BYTES, REFUSALS, REFUSALS_BYTES = '<LLLL', 32, '<LL', 16

-- The sums of a window, and what stands behind them (nil: nothing). No sums at all: there are none, or they cannot be read.
local function unpack_sums(key, packed)
  if not packed then return nil end
  local bytes = #packed
  if bytes == SUMS_BYTES or bytes == SUMS_BYTES + REFUSALS_BYTES then
    local spent, reserved, unconfirmed, calls = struct.unpack(SUMS, packed)
    if spent + reserved + unconfirmed + calls < MAX_NUMBER then
      return spent, reserved, unconfirmed, calls, bytes > SUMS_BYTES and string.sub(packed, SUMS_BYTES + 1) or nil
    end
  end
  note_unreadable(BUDGET_SUMS .. ' ' .. key, 'cannot be read')
  return nil
end

local function pack_sums(spent, reserved, unconfirmed, calls, refusals)
  local sums = struct.pack(SUMS, spent, reserved, unconfirmed, calls)
  return refusals and sums .. refusals or sums
end

-- How many calls did not fit.
local function refused_of(refusals)
  local refused = refusals and struct.unpack(REFUSALS, refusals) or 0
  return refused < MAX_NUMBER and refused or 0
end

-- Change the sums of the windows that a reserve is in. No sum falls below 0. Those that cannot be read stay: the next claim
-- counts them again (see budget_recount.lua), and what it counts has this change too.
local function change_sums(reserve, spent_by, reserved_by, unconfirmed_by)
  local keys, entries = {}, {}
  for key in string.gmatch(reserve, ' (%S+)') do keys[#keys + 1] = key end
  if not keys[1] then return end
  local sums = redis.call('HMGET', BUDGET_SUMS, unpack(keys))
  for i, key in ipairs(keys) do
    local spent, reserved, unconfirmed, calls, refusals = unpack_sums(key, sums[i])
    if spent then
      spent, reserved, unconfirmed = spent + spent_by, reserved + reserved_by, unconfirmed + unconfirmed_by
      if spent < 0 then spent = 0 end  -- `math.max` takes five times as long
      if reserved < 0 then reserved = 0 end
      if unconfirmed < 0 then unconfirmed = 0 end
      local n = #entries
      entries[n + 1], entries[n + 2] = key, pack_sums(spent, reserved, unconfirmed, calls, refusals)
    end
  end
  if entries[1] then redis.call('HSET', BUDGET_SUMS, unpack(entries)) end
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
