-- @include call_report
-- Report a call that a producer made by itself, without a job, to the breakers and the ledger.
-- Arguments: call (see call_report.lua), substitution? (see ledger.lua)
-- Bodies: breaker policy (JSON)
-- Reply: {1 if a breaker opened}
local call = args.call
add_to_ledger(call, now)
count_substitution(args.substitution, now)
count('reported')
return {report_call(call, decode_once(ARGV[3]), now) and 1 or 0}
