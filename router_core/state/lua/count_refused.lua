-- Count requests that a gateway refused, in the hash of this day (UTC).
-- Arguments: rows ({key of the gateway, cause, amount}...), keep_s
-- Reply: 1
local day = REFUSED .. date(now)
for _, row in ipairs(args.rows) do
  local labels = row[1] .. ' ' .. row[2]
  redis.call('HINCRBY', day, labels .. ' n', row[3])
  redis.call('HSET', day, labels .. ' last', ms(now))
end
redis.call('EXPIRE', day, args.keep_s)
return 1
