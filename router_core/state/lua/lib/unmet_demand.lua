-- Unmet demand: jobs that go elsewhere because a card does not hold their model. Its manager counts those of a minute.
local MAX_UNMET, UNMET_S = 8, 60
local function note_unmet(models, now)
  for _, model in ipairs(models or {}) do
    redis.call('LPUSH', UNMET_DEMAND .. model, now)
    redis.call('LTRIM', UNMET_DEMAND .. model, 0, MAX_UNMET - 1)
    redis.call('EXPIRE', UNMET_DEMAND .. model, UNMET_S)
  end
end
