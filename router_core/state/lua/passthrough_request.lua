-- @include budget_reserve
-- A request that passes through the gateway to a backend, beside the queue, at a price that is known before. Its cost is booked if
-- it fits into every budget that counts it; otherwise the request is not sent.
-- Arguments: backend, cost_nusd, terms ({budgets}), owner ({bound, group, producer}: see budget_reserve.lua), entry (role, producer
--   and buckets: see ledger.lua)
-- Bodies: budgets ('' or JSON: see budget_book.py)
-- Reply: the budget that it does not fit into ('': it fits; see budget_book.py)
local over = budgeting.spend(ARGV[3], now, args.terms, args.owner, args.cost_nusd, true)
if over == '' then
  local call = {model = '-', backend = args.backend, group = '-', duration_ms = 0, input_tokens = 0, output_tokens = 0,
    cost_nusd = args.cost_nusd}
  for name, value in pairs(args.entry) do call[name] = value end
  add_to_ledger(call, now)
end
return over
