-- Which of many keys exist, in few commands: most queues of a fleet are empty.

-- The names of which `prefix .. name` exists, as a set. One EXISTS counts up to 64 keys; only where some of them exist
-- and others do not, halves are counted. Names are distinct.
local MAX_COUNTED = 64
local function existing(prefix, names)
  local found = {}
  local function count(first, last)
    local keys = {}
    for i = first, last do keys[#keys + 1] = prefix .. names[i] end
    return redis.call('EXISTS', unpack(keys))
  end
  local function search(first, last, n)
    if n == 0 then return end
    if n == last - first + 1 then
      for i = first, last do found[names[i]] = true end
      return
    end
    local middle = math.floor((first + last) / 2)
    local of_first_half = count(first, middle)
    search(first, middle, of_first_half)
    search(middle + 1, last, n - of_first_half)
  end
  for first = 1, #names, MAX_COUNTED do
    local last = math.min(first + MAX_COUNTED - 1, #names)
    search(first, last, count(first, last))
  end
  return found
end
