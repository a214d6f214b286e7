-- The lists of a subscription's queues in drain order, and which of them a claim looks at.

local function name_lists(subscription)
  subscription.lists = {}
  for i, queue in ipairs(subscription.queues) do subscription.lists[i] = RQ_QUEUE .. queue.name end
end

-- Whether one of a block of lists has jobs: one command for many queues that are empty. Returns the last of the block too.
-- The first list is a block of its own, since it is the one that most often has jobs.
local FIRST_BLOCK, BLOCK = 4, 16
local function examine_block(lists, first)
  if first == 1 then return 1, true end
  local last = math.min(#lists, first + (first == 2 and FIRST_BLOCK or BLOCK) - 1)
  return last, redis.call('EXISTS', unpack(lists, first, last)) > 0
end
