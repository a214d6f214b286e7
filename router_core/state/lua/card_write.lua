-- @include producer_turns
-- @include metrics
-- Write the state of a card. Only the manager of its cards may, and only over the state that it has read. A model of
-- `idle` is about to be unloaded: if a call of it is in flight, nothing is written.
-- Arguments: pool, worker, epoch, card, version (that was read), admitted ({model, least urgent jobs}...), idle (models),
--   backends (of the card), wake (queues that are open now and were not), done (orders that are carried out)
-- Bodies: state (JSON)
-- Reply: {'written' | 'fenced' | 'changed' | 'busy', version}
local holder = fields(CARD_MANAGER .. args.pool, 'worker', 'epoch')
if holder.worker ~= args.worker or holder.epoch ~= tostring(args.epoch) then return {'fenced', 0} end
local card = CARD .. args.card
local version = number(redis.call('HGET', card, 'version'), 0)
if version ~= args.version then return {'changed', version} end
local leaves = {}
for _, model in ipairs(args.idle) do leaves[model] = true end
if next(leaves) then
  for _, backend in ipairs(args.backends) do
    for _, member in ipairs(redis.call('ZRANGE', LEASES .. backend, 0, -1)) do
      local queue = redis.call('HGET', RECORD .. (string.match(member, '^[^:]+') or ''), 'queue')
      if queue and leaves[model_of(queue)] then return {'busy', version} end
    end
  end
end
-- The model that a state is about to load, and since when.
local function loading(text)
  local readable, state = pcall(cjson.decode, text or '')
  local switch = readable and type(state) == 'table' and type(state.switch) == 'table' and state.switch or {}
  return switch.load ~= '' and switch.load or nil, switch.since
end
local load, since = loading(ARGV[3])
local load_before, since_before = loading(redis.call('HGET', card, 'state') or '')
if load and (load ~= load_before or since ~= since_before) then
  metrics.add_event('swap ' .. metrics.word(args.card) .. ' ' .. metrics.word(load), now)
end
redis.call('HSET', card, 'version', version + 1, 'state', ARGV[3])
redis.call('DEL', CARD_ADMITTED .. args.card)
for _, entry in ipairs(args.admitted) do redis.call('HSET', CARD_ADMITTED .. args.card, entry[1], entry[2]) end
for _, order in ipairs(args.done) do redis.call('HDEL', CARD_ORDERS .. args.card, order) end
for _, queue in ipairs(args.wake) do wake_worker(queue) end
return {'written', version + 1}
