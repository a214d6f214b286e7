-- A call that a producer made by itself, without a job: the breakers hear of it, the ledger counts it.
-- ARGV: clock, call (see call.lua), rules (breaker policy, JSON)
-- Reply: {1 if a breaker opened}
local now = clock()
local call = call_of(ARGV[2])
enter_in_ledger(call, false, now)
count('reported')
return {report_call(call, ARGV[3], now)}
