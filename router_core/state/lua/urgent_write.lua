-- Run one command that writes little, also when the memory of Redis is full: what an operator does, and what a worker
-- reports, must work then.
-- Arguments: command
-- Bodies: its arguments
-- Reply: that of the command
return redis.call(args.command, unpack(ARGV, 3))
