-- Turns: what is less urgent gets its share of a pool's claims while more urgent jobs are served. Each job that a claim
-- brings adds the share to the credit of every urgency that it keeps waiting; a credit of 1 is one job ahead of all others.
-- Credits are whole thousandths, and few: what could not be claimed for long comes back as no flood. Each worker keeps
-- account after every few jobs: looking who waits costs more than the rest. While nobody is kept waiting nothing is written.
local TURN, MOST_CREDIT = 1000, 8000

-- Of each urgency that has a share: it (in thousandths), its credit, and where its queues stand in ARGV; the most urgent first.
local function turns_of(told, pool)
  local turns = {}
  if told == '' then return turns end
  local credits, kept = {}, redis.call('HGETALL', TURNS .. pool)
  for i = 1, #kept, 2 do credits[kept[i]] = tonumber(kept[i + 1]) end
  for urgency, share, first, last in string.gmatch(told, ';(%a+)=(%d+)=(%d+)=(%d+)') do
    local credit = credits[urgency] or 0
    turns[#turns + 1] = {urgency = urgency, share = tonumber(share), first = tonumber(first), last = tonumber(last),
      credit = credit, kept = credit, took = 0}
  end
  return turns
end

-- Take the jobs whose turn it is, as many as there is credit for. Credit that nobody waits to use is gone.
local function take_turn(turn, drain, jobs, width)
  local ahead = math.floor(turn.credit / TURN)
  if ahead < 1 then return end
  local before, waiting = #jobs, 0
  for i = turn.first, turn.last, width do
    if #jobs - before >= ahead then break end
    waiting = waiting + drain(i, ahead - (#jobs - before))
  end
  turn.took = #jobs - before
  turn.credit = turn.credit - TURN * turn.took
  if turn.took == 0 and waiting == 0 then turn.credit = 0 end
end

-- Write down what those have coming that wait behind what was claimed: a share of `since` jobs (0: not yet). The most
-- urgent job that came without a turn was in the queue at ARGV[from].
local function keep_account(turns, pool, from, since, waits)
  local changed, in_turn = {}, 0
  for _, turn in ipairs(turns) do in_turn = in_turn + turn.took end
  for _, turn in ipairs(turns) do
    local behind = (from and turn.first > from) or in_turn > turn.took
    if since > 0 and (turn.took > 0 or (behind and waits(turn.first, turn.last))) then
      turn.credit = math.min(MOST_CREDIT, turn.credit + turn.share * since)
    end
    if turn.credit ~= turn.kept then
      changed[#changed + 1] = turn.urgency
      changed[#changed + 1] = turn.credit
    end
  end
  if #changed > 0 then redis.call('HSET', TURNS .. pool, unpack(changed)) end
end
