-- @include call_report
-- @include limit_corrections
-- @include budget_reserve
-- Report a call that a producer made by itself, without a job, to the breakers and the ledger.
-- Arguments: call (see call_report.lua), terms? ({budgets}: they count its cost), owner? ({bound, group, producer}: see
--   budget_reserve.lua), limits? ({backend, moved}: see limit_corrections.lua), substitution? (see ledger.lua)
-- Bodies: breaker policy (JSON), budgets ('' or JSON: see budget_book.py)
-- Reply: {1 if a breaker opened}
local call = args.call
if args.terms and call.cost_nusd then budgeting.spend(ARGV[4], now, args.terms, args.owner, call.cost_nusd, false) end
add_to_ledger(call, now)
count_substitution(args.substitution, now)
if args.limits then correct_limits(args.limits.backend, args.limits.moved, now) end
count('reported')
return {report_call(call, decode_once(ARGV[3]), now) and 1 or 0}
