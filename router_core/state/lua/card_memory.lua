-- Note how much memory of a card is in use. The samples of a minute, and of an hour, are one entry: their mean, and the
-- highest sum. A hash has a field for each minute of a day (each hour of a year), which the next day (year) replaces.
-- Arguments: card, models_mb, others_mb, total_mb (0: unknown), periods ({name, seconds, fields}...)
-- Reply: nothing
local sum_mb = args.models_mb + args.others_mb
for _, period in ipairs(args.periods) do
  local key, number_of_period = CARD_MEMORY .. args.card .. ':' .. period.name, math.floor(now / 1000 / period.seconds)
  local field = number_of_period % period.fields
  local entry = {}
  local text = redis.call('HGET', key, field)
  for digits in string.gmatch(text or '', '[%d.]+') do entry[#entry + 1] = tonumber(digits) end
  if text and #entry ~= 6 then note_unreadable(key, 'has a period that cannot be read') end
  if entry[1] ~= number_of_period or #entry ~= 6 then entry = {number_of_period, 0, 0, 0, 0, 0} end
  local samples = entry[6] + 1
  local models = entry[2] + (args.models_mb - entry[2]) / samples
  local others = entry[3] + (args.others_mb - entry[3]) / samples
  redis.call('HSET', key, field, string.format('%d %.1f %.1f %d %d %d', number_of_period, models, others,
    args.total_mb, math.max(entry[5], sum_mb), samples))
  redis.call('EXPIRE', key, period.seconds * period.fields)
end
