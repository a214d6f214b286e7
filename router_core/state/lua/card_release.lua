-- The manager of a pool's cards stops: another worker may be the manager at once.
-- Arguments: pool, worker
-- Reply: 1 if it was the manager
local manager = CARD_MANAGER .. args.pool
if redis.call('HGET', manager, 'worker') ~= args.worker then return 0 end
redis.call('HSET', manager, 'until', 0)
return 1
