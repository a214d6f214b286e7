-- Forget a Response. Its items stay while a conversation goes on from it.
-- Arguments: id
-- Reply: {1 if there was one}
local key = RESPONSE .. args.id
if redis.call('HEXISTS', key, 'continued') == 1 then return {redis.call('HDEL', key, 'response')} end
return {redis.call('DEL', key)}
