-- @include queue_depths
-- Write down, once a minute in the whole fleet, how many jobs wait and how long the oldest has waited: a row for each minute
-- of an hour, and one for each ten minutes of a day with the highest of each.
-- Arguments: cells ({pool, urgency, queues}...), minutes (rows kept of the hour), ten_minutes (rows kept of the day), keep_s
-- Reply: 1, or 0 if this minute has its row
-- A row is JSON: at (ms), held, and cells ({'POOL URGENCY': {jobs waiting, age of the oldest in ms}}), without empty ones.
local MINUTE_MS = 60000

local function last_of(key)
  local text = redis.call('LINDEX', key, 0)
  local readable, row = pcall(cjson.decode, text or '')
  return readable and type(row) == 'table' and number(row.at, 0) or 0
end

local minute = math.floor(now / MINUTE_MS)
local since_last = minute - math.floor(last_of(DEPTHS .. 'hour') / MINUTE_MS)
if since_last == 0 then return 0 end

local function add_row(key, row, limit)
  redis.call('LPUSH', key, cjson.encode(row))
  redis.call('LTRIM', key, 0, limit - 1)
  redis.call('EXPIRE', key, args.keep_s)
end

local names, cells = {}, {}
for _, cell in ipairs(args.cells) do
  for _, queue in ipairs(cell[3]) do names[#names + 1] = queue end
end
local depths = read_depths(names, 1)
for _, cell in ipairs(args.cells) do
  local waiting, oldest = 0, 0
  for _, queue in ipairs(cell[3]) do
    local depth = depths[queue]
    if depth then waiting, oldest = waiting + depth.waiting, math.max(oldest, now - (depth.first or now)) end
  end
  if waiting > 0 then cells[cell[1] .. ' ' .. cell[2]] = {waiting, oldest} end
end
local held = redis.call('ZCARD', RQ_DEFERRED .. DEGRADE)
add_row(DEPTHS .. 'hour', {at = ms(now), held = held, cells = cells}, args.minutes)

-- The highest values of the rows since the last one of the day.
if math.floor(minute / 10) ~= math.floor(last_of(DEPTHS .. 'day') / MINUTE_MS / 10) then
  local highest = {}
  for _, text in ipairs(redis.call('LRANGE', DEPTHS .. 'hour', 0, 9)) do
    local readable, row = pcall(cjson.decode, text)
    if readable and type(row) == 'table' and now - number(row.at, 0) <= 10 * MINUTE_MS then
      held = math.max(held, number(row.held, 0))
      for name, values in pairs(type(row.cells) == 'table' and row.cells or {}) do
        local known = highest[name] or {0, 0}
        if type(name) == 'string' and type(values) == 'table' then
          highest[name] = {math.max(known[1], number(values[1], 0)), math.max(known[2], number(values[2], 0))}
        end
      end
    end
  end
  add_row(DEPTHS .. 'day', {at = ms(now), held = held, cells = highest}, args.ten_minutes)
end
return 1
