-- @include job_row
-- The jobs of an index that a filter selects, those with the highest scores first. Reads a bounded part of the index.
-- Changes nothing.
-- Arguments: index (a zset of ids), by_acceptance? (its scores are moments of acceptance, ms), limit (rows), max_read
--   (records that are read), before? ({score, id}: only jobs behind this one), names (fields of a record), head_bytes;
--   and of the filter, each absent if it does not matter: states (a set of states and of statuses), role, model,
--   urgency, group and producer (patterns: * and ?), since (ms), id_text (a part of the id), only_of (a producer,
--   exactly)
-- Reply: {score and id of the last job that was examined, if there are more ('' if not), {id, row (see
--   job_row.lua)}...}
local PART, UNREAD_PER_READ = 200, 20

-- Whether a text matches a pattern with * (any text) and ? (one byte). It takes at most pattern x text steps.
local function matches(text, pattern)
  local at, next_at, star, resume = 1, 1, nil, nil
  while at <= #text do
    local c = string.byte(pattern, next_at)
    if c == 42 then
      star, resume = next_at, at
      next_at = next_at + 1
    elseif c == 63 or (c and c == string.byte(text, at)) then
      at, next_at = at + 1, next_at + 1
    elseif star then
      resume = resume + 1
      at, next_at = resume, star + 1
    else
      return false
    end
  end
  return not string.find(string.sub(pattern, next_at), '[^*]')
end

local function role_of(id) return string.match(redis.call('HGET', RQ_JOB .. id, 'description') or '', '^[^/]*') end

local has_filter = false
for _, name in ipairs({'states', 'since', 'model', 'urgency', 'group', 'producer', 'only_of', 'role'}) do
  has_filter = has_filter or args[name] ~= nil
end

local function is_wanted(id)
  local job = redis.call('HMGET', RECORD .. id, 'state', 'status', 'queue', 'fell_from', 'group', 'producer', 'accepted')
  local queue = job[3] == DEGRADE and job[4] or job[3] or ''
  return job[1] and (not args.states or args.states[job[1]] or args.states[job[2] or ''])
    and (not args.since or (tonumber(job[7]) or 0) >= args.since)
    and (not args.model or model_of(queue) == args.model)
    and (not args.urgency or urgency_of(queue) == args.urgency)
    and (not args.group or matches(job[5] or '', args.group))
    and (not args.producer or matches(job[6] or '', args.producer))
    and (not args.only_of or job[6] == args.only_of)
    and (not args.role or role_of(id) == args.role)
end

local from = 0
if args.before then
  local rank = redis.call('ZREVRANK', args.index, args.before[2])
  from = rank and rank + 1 or redis.call('ZCOUNT', args.index, '(' .. args.before[1], '+inf')
end
local reply, read, passed = {'', ''}, 0, 0
while true do
  local part = redis.call('ZREVRANGE', args.index, from, from + PART - 1, 'WITHSCORES')
  for i = 1, #part, 2 do
    local id, score = part[i], part[i + 1]
    if args.since and args.by_acceptance and tonumber(score) < args.since then
      reply[1], reply[2] = '', ''
      return reply
    end
    if #reply - 2 >= args.limit or read >= args.max_read or passed >= args.max_read * UNREAD_PER_READ then return reply end
    reply[1], reply[2] = score, id
    passed = passed + 1
    if not args.id_text or string.find(id, args.id_text, 1, true) then
      read = read + 1
      local row = (not has_filter or is_wanted(id)) and job_row(id, args.names, args.head_bytes)
      if row and row[1] ~= '' then reply[#reply + 1] = {id, row} end
    end
  end
  if #part < 2 * PART then
    reply[1], reply[2] = '', ''
    return reply
  end
  from = from + PART
end
