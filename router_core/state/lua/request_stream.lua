-- Stream the answer of a job to its followers. A delivery that starts from now on writes its pieces. The worker of the one
-- in flight gets a command: it writes them if the provider streams.
-- Arguments: id
-- Reply: 1, or 0: there is no such job
local id = args.id
local job = fields(RECORD .. id, 'state', 'stream', 'worker', 'pieces')
if not job.state then return 0 end
if not job.stream then redis.call('HSET', RECORD .. id, 'stream', 1) end
if job.state == 'started' and job.worker and not job.pieces then
  redis.call('PUBLISH', RQ_PUBSUB .. job.worker, cjson.encode({command = 'stream-job', job_id = id}))
end
return 1
