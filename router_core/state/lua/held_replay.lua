-- @include fall_and_release
-- @include lifecycle
-- Put a held job back into the queue it fell from, at the front. Everything is forgiven; its attempts stay in its
-- history.
-- Arguments: id
-- Reply: {'queued' | state | 'gone'}
local id = args.id
local job = fields(RECORD .. id, 'state', 'fell_from')
if not job.state then return {'gone'} end
if job.state ~= 'held' then return {job.state} end
unhold(id, now, 'replayed')
requeue_fresh(id, job.fell_from or DEGRADE, true, 'replayed', now, true)
count('replayed')
metrics.add_event('replayed request', now)
return {'queued'}
