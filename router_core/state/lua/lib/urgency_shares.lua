-- Fair shares: a less urgent job gets its share of a pool's claims while more urgent jobs are served. Each job that a
-- claim takes adds the share of every urgency that it keeps waiting to the credit of that urgency. A credit of 1 lets
-- one job pass all others. Credits are whole thousandths and bounded: an urgency that could not be claimed for long
-- comes back as no flood. Each worker updates them only after every few jobs, since the check which urgencies wait costs
-- more than the rest. While no job is kept waiting, nothing is written.
local CREDIT, MAX_CREDIT = 1000, 8000

-- Of each urgency that has a share (in thousandths): its credit and its first and last queue; the most urgent first.
local function load_credits(shares, pool)
  local turns = {}
  if not shares[1] then return turns end
  local credits, entries = {}, redis.call('HGETALL', CREDITS .. pool)
  for i = 1, #entries, 2 do credits[entries[i]] = math.max(0, math.min(MAX_CREDIT, number(entries[i + 1], 0))) end
  for i, share in ipairs(shares) do
    local credit = credits[share.urgency] or 0
    turns[i] = {urgency = share.urgency, share = share.share, first = share.first, last = share.last,
      credit = credit, stored = credit, taken = 0}
  end
  return turns
end

-- Take as many jobs of an urgency as it has credit for. Credit that no waiting job can use is lost.
local function take_turn(turn, drain, jobs)
  local ahead = math.floor(turn.credit / CREDIT)
  if ahead < 1 then return end
  local before, waiting = #jobs, 0
  for i = turn.first, turn.last do
    if #jobs - before >= ahead then break end
    waiting = waiting + drain(i, ahead - (#jobs - before))
  end
  turn.taken = #jobs - before
  turn.credit = turn.credit - CREDIT * turn.taken
  if turn.taken == 0 and waiting == 0 then turn.credit = 0 end
end

-- Give credit to the urgencies that wait behind the claimed jobs: their share of `jobs_since` jobs (0: not yet). The
-- most urgent job that was taken without credit came from queue `from` (nil: none was).
local function update_credits(turns, pool, from, jobs_since, is_waiting)
  local changed, taken = {}, 0
  for _, turn in ipairs(turns) do taken = taken + turn.taken end
  for _, turn in ipairs(turns) do
    local behind = (from and turn.first > from) or taken > turn.taken
    if jobs_since > 0 and (turn.taken > 0 or (behind and is_waiting(turn.first, turn.last))) then
      turn.credit = math.min(MAX_CREDIT, turn.credit + turn.share * jobs_since)
    end
    if turn.credit ~= turn.stored then
      changed[#changed + 1] = turn.urgency
      changed[#changed + 1] = turn.credit
    end
  end
  if #changed > 0 then redis.call('HSET', CREDITS .. pool, unpack(changed)) end
end
