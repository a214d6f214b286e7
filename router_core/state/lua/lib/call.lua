-- A call that was made, as the breakers and the ledger hear of it. Shared by the scripts that settle and report.
-- As text: model, backend, group ('-'), mark, epoch, took (ms), repeated (1/0), key ('-'), key's epoch, key's mark
-- ('fine', 'cooldown', 'park'), wait (ms), chance, bucket (ms), failed (1/0), tokens in and out, cost in nanodollars
-- ('-': unknown), and the failure's class ('-'), with a space between. Empty: none was made.
local function call_of(told)
  local call = {}
  for field in string.gmatch(told, '%S+') do call[#call + 1] = field end
  return call[1] and call or nil
end

-- What was called for whom, and what it cost. `handed_on`: another model is asked next; after a failure, a fallback.
local function enter_in_ledger(call, handed_on, now)
  local day = LEDGER .. string.sub(iso(now), 1, 10)
  local row = call[1] .. '@' .. call[2] .. ' ' .. call[3] .. ' '
  local names, more = {row .. 'calls', row .. 'ms'}, {1, tonumber(call[6])}
  local function add(what, n)
    if n ~= '0' then names[#names + 1], more[#more + 1] = row .. what, tonumber(n) end
  end
  add('failed', call[14])
  add('in', call[15])
  add('out', call[16])
  if call[17] == '-' then add('unpriced', '1') else add('nusd', call[17]) end
  if handed_on then add('fallbacks', call[14]) end
  local sums, told = redis.call('HMGET', day, unpack(names)), {}
  for i, name in ipairs(names) do
    told[2 * i - 1], told[2 * i] = name, string.format('%.0f', (sums[i] or 0) + more[i])
  end
  redis.call('HSET', day, unpack(told))
  if not sums[1] then redis.call('EXPIRE', day, 8640000) end
end

-- Tell the breakers of the model and of the key. Returns 1 if one of them opened.
local function report_call(call, rules, now)
  local target, chance, bucket = call[2] .. '/' .. call[1], tonumber(call[12]), tonumber(call[13])
  local why = call[18] ~= '-' and call[18] or ''
  local opened = breaker_report(target, {mark = call[4], epoch = call[5], took = call[6], repeated = call[7] == '1',
    bucket = bucket, chance = chance, why = why}, rules, now)
  if call[10] == 'cooldown' then cool_down(target, tonumber(call[11]), now) end
  if call[8] ~= '-' and call[10] == 'park' then
    opened = breaker_report('key:' .. call[8], {mark = 'trip', epoch = call[9], took = 0, bucket = bucket,
      chance = chance, why = why}, rules, now) or opened
  end
  return opened and 1 or 0
end
