-- @include subscription_plan
-- Note the used share of the windows of a subscription, from a response to a request that is no call of a job.
-- Arguments: payer (the target of its key, or of its model), shares ({number, window_seconds, permille,
--   resets_in_seconds}...)
-- Reply: nothing
note_plan_shares(PLAN .. args.payer, args.shares, now)
