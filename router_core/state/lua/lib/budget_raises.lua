-- What the limit of a budget is raised by: '{nanodollars} {until, ms}' of each raise, one behind the other. Returns those that have
-- not ended, and their sum.
local function active_raises(text, now)
  local active, sum = {}, 0
  for by, ends in string.gmatch(text or '', '(%d+) (%d+)') do
    local more = number(by, 0)
    if number(ends, 0) > now then active[#active + 1], sum = by .. ' ' .. ends, sum + more end
  end
  return active, sum
end
