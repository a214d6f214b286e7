-- Keep what a Response repeats of its request, and the items that it adds to its conversation. What stands before it stays as
-- long.
-- Arguments: id, keep_s, previous? (the Response that it continues), max_turns
-- Bodies: the fixed part of the Response, its items (both JSON)
-- Reply: {1; 0: the Response that it continues is gone}
local before = args.previous
if before then
  if redis.call('HEXISTS', RESPONSE .. before, 'items') == 0 then return {0} end
  redis.call('HSET', RESPONSE .. before, 'continued', 1)
end
for _ = 1, args.max_turns do
  if not before then break end
  redis.call('EXPIRE', RESPONSE .. before, args.keep_s, 'GT')
  before = redis.call('HGET', RESPONSE .. before, 'previous')
end
local key = RESPONSE .. args.id
redis.call('HSET', key, 'response', ARGV[3], 'items', ARGV[4])
if args.previous then redis.call('HSET', key, 'previous', args.previous) end
redis.call('EXPIRE', key, args.keep_s)
return {1}
