-- Every breaker that ever changed or counted a failure, and every target that cools down. Changes nothing.
-- Arguments: none
-- Reply: {{blocked target, block...}, {{target, its hash...}...}}
local blocked = redis.call('HGETALL', BLOCKED)
local targets, rows = {}, {}
for _, target in ipairs(redis.call('SMEMBERS', BREAKERS)) do targets[target] = true end
for i = 1, #blocked, 2 do
  local cooling = string.match(blocked[i], '^(.*) cool$')
  if cooling then targets[cooling] = true end
end
for target in pairs(targets) do rows[#rows + 1] = {target, redis.call('HGETALL', BREAKER .. target)} end
return {blocked, rows}
