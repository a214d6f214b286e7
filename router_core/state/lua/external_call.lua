-- @include call_report
-- @include limit_corrections
-- Report a call that a producer made by itself, without a job, to the breakers and the ledger.
-- Arguments: call (see call_report.lua), limits? ({backend, moved}: see limit_corrections.lua), substitution? (see ledger.lua)
-- Bodies: breaker policy (JSON)
-- Reply: {1 if a breaker opened}
local call = args.call
add_to_ledger(call, now)
count_substitution(args.substitution, now)
if args.limits then correct_limits(args.limits.backend, args.limits.moved, now) end
count('reported')
return {report_call(call, decode_once(ARGV[3]), now) and 1 or 0}
