-- Forget a file. Its data is removed by a gateway of its directory.
-- Arguments: id, producer, directory
-- Reply: {1: it was there, 0: it was not}
local deleted = redis.call('DEL', FILE .. args.id)
redis.call('ZREM', FILES .. args.producer, args.id)
redis.call('ZREM', FILES, args.id)
redis.call('ZADD', FILE_DATA .. args.directory, now, args.id)
return {deleted}
