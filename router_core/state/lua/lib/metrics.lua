-- Counts that outlive every process: for metrics, and for statistics by day and month. A script adds them to hashes, a field
-- for each set of labels: see `delivery_counts.py`. The number of fields is bounded: what would exceed it counts under
-- `other`. `metrics` is a table: a script may have 200 names.
local metrics = (function()
  local MAX_JOB_COUNTS, MAX_METRICS, MAX_HEAD_BYTES = 8000, 4000, 16384
  local DAY_COPY_S, MONTH_COPY_S = 40 * 86400, 400 * 86400
  local counted_day

  -- A name as a word of a field: as `quote` of Python writes it.
  local function word(name)
    if type(name) ~= 'string' or name == '' then return '-' end
    return (string.gsub(name, '[^%w_.~-]', function(c) return string.format('%%%02X', string.byte(c)) end))
  end

  -- Add to a hash. `rows`: {labels, cell, amount, cell, amount...}... `other`: the labels that count for those of a row if
  -- there are too many fields.
  local function add_rows(hash, max, rows, other, now)
    for _, row in ipairs(rows) do
      for i = 2, #row, 2 do
        local field, amount = row[1] .. ' ' .. row[i], row[i + 1]
        if redis.call('HINCRBY', hash, field, amount) == amount then  -- a field has been created
          local size = redis.call('HLEN', hash)
          if size == 1 then redis.call('HSET', hash, 'since', ms(now)) end
          if size > max then
            redis.call('HDEL', hash, field)
            redis.call('HINCRBY', hash, other(row[1]) .. ' ' .. row[i], amount)
          end
        end
      end
    end
  end

  local function other_of_family(labels) return string.match(labels, '^%S+') .. ' other' end
  local function other_job() return 'other other other other' end

  -- Before the first count of a day: copy what was counted before it. The statistics of a day, and of a month, are the
  -- difference of two copies.
  local function keep_earlier_counts(now)
    local day = math.floor(now / DAY_MS)
    if day == counted_day then return end
    counted_day = day
    local since = tonumber(fields(JOB_COUNTS, 'since').since)
    if not since or since > now + DAY_MS then  -- it cannot be read: it is long ago, so that every copy counts
      if redis.call('EXISTS', JOB_COUNTS) == 0 then return end
      since = 1
      redis.call('HSET', JOB_COUNTS, 'since', since)
    end
    local first, today = date(since), date(now)
    local function copy(length, ttl_s)
      local period = string.sub(today, 1, length)
      if string.sub(first, 1, length) ~= period and redis.call('COPY', JOB_COUNTS, JOB_COUNTS_AT .. period) == 1 then
        redis.call('EXPIRE', JOB_COUNTS_AT .. period, ttl_s)
      end
    end
    copy(#'2026-11-21', DAY_COPY_S)
    copy(#'2026-11', MONTH_COPY_S)
  end

  local function add(rows, now) add_rows(METRICS, MAX_METRICS, rows, other_of_family, now) end

  local function add_jobs(rows, now)
    keep_earlier_counts(now)
    add_rows(JOB_COUNTS, MAX_JOB_COUNTS, rows, other_job, now)
  end

  -- Count the end of a job whose script was not given its labels. They are read from its request, as far as that can be
  -- read.
  local function add_job_end(id, queue, status, now)
    local head = string.match(redis.call('GETRANGE', PROMPT .. id, 0, MAX_HEAD_BYTES - 1), '^[^\n]*')
    local readable, job = pcall(cjson.decode, head)
    if not readable or type(job) ~= 'table' then job = {} end
    local role, urgency = type(job.role) == 'string' and job.role or job.task, job.urgency or urgency_of(queue)
    add_jobs({{word(role) .. ' ' .. word(urgency) .. ' ' .. word(job.group) .. ' ' .. word(model_of(queue)), status, 1}}, now)
  end

  -- Count one event. `labels`: its family and its labels, as words.
  local function add_event(labels, now) add({{labels, 'n', 1}}, now) end

  return {word = word, add = add, add_event = add_event, add_jobs = add_jobs, add_job_end = add_job_end}
end)()
