-- How many entries registries of rq have.
-- Arguments: registries (keys)
-- Reply: {size...}
local sizes = {}
for i, registry in ipairs(args.registries) do sizes[i] = redis.call('ZCARD', registry) end
return sizes
