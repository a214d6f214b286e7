"""Every key in Redis: rq's own, which rq's tools read, and ours, which hold what rq must not.

Names that end in ':' are prefixes. `with_key_names()` writes them into each script.
"""

from __future__ import annotations

import re

# rq 2.12's data model (rq/job.py, queue.py, registry.py, executions.py, results.py, worker_registration.py).
RQ_JOB = "rq:job:"
RQ_QUEUE = "rq:queue:"
RQ_QUEUES = "rq:queues"
RQ_WIP = "rq:wip:"
RQ_FINISHED = "rq:finished:"
RQ_FAILED = "rq:failed:"
RQ_CANCELED = "rq:canceled:"
RQ_SCHEDULED = "rq:scheduled:"
RQ_DEFERRED = "rq:deferred:"
RQ_EXECUTION = "rq:execution:"
RQ_EXECUTIONS = "rq:executions:"
RQ_RESULTS = "rq:results:"
RQ_SUSPENDED = "rq:suspended"
RQ_WORKER = "rq:worker:"
RQ_WORKERS = "rq:workers"
RQ_WORKERS_OF = "rq:workers:"
RQ_PUBSUB = "rq:pubsub:"
CATALOG_FIELD = "of_catalog"  # of an rq worker's hash: the digest of its catalog. rq ignores it
SHORTAGE_FIELD = "of_shortage"  # of the same hash: what its process lacks
LOG_FIELD = "of_log"  # of the same hash: where its log is, for people
QUIET_FIELD = "of_quiet"  # of the same hash: not empty while an operator keeps it from claiming jobs

# Ours.
RECORD = "of:job:"  # hash: the record of a job. Short values only: Redis then packs it tightly
PROMPT = "of:prompt:"  # string: the envelope. No TTL until the job has its result
RESULT = "of:result:"  # string: the terminal result, with every attempt
EVENTS = "of:events:"  # list: the events of a job, as JSON; the index is the cursor
JOB_CHANGED = "of:job-changed:"  # channel: a job has new events
IDEMPOTENCY = "of:idem:"  # string: {job id} {digest}, by producer and key
UNFINISHED = "of:unfinished"  # zset: every job without a result -> when the sweep examines it next (ms)
ANSWERS = "of:answers:"  # list: answers kept with a job: of an ensemble, until the best is chosen, and refusals
JOBS = "of:jobs"  # zset: every job that Redis keeps -> when it was accepted (ms)
JOBS_ENDED = "of:jobs:"  # zset, by status (failed, expired, cancelled, degraded): the same of jobs that ended so
LEASES = "of:leases:"  # zset, by backend: {job id}:{token} -> end of the lease (ms). Its size is the slots in use
BACKENDS = "of:backends"  # set: the backends that workers have named
SCHEDULED = "of:scheduled:"  # zset, by pool: job id -> when it is due (ms)
SUSPECTS = "of:suspects:"  # zset, by pool: a job that may be crashing its workers -> reserved until (ms)
LISTED = "of:listed:"  # hash, by queue: producer -> its jobs in the queue's list; '' -> the jobs in backlogs
BACKLOGS = "of:backlogs"  # set: the lists of producers whose further jobs wait for a turn (see producer_turns.lua)
WAKEUP = "of:wakeup:"  # list, by queue: one entry wakes one waiting worker
PAUSED = "of:paused"  # set of queue names
SWITCHES = "of:switches"  # hash: `local-only` and `paused {queue}`, as operators switched them: a second place
PRESENCE = "of:presence"  # zset: worker -> alive until (ms)
LAST_WORKERS = "of:last-workers"  # hash: worker -> its pool, host, pid, log and last beat (JSON), for people
LAST_BEAT = "of:last-beat"  # string: when any worker beat last (ms)
BEATS = "of:beats"  # string: how many beats workers have made, and when the last was (ms)
LOST_WRITES = "of:lost-writes"  # string: what Redis has lost, and which worker noticed it (JSON)
RQ_JOBS_TAKEN = "of:rq-jobs"  # zset: job of plain rq, taken by a worker -> until (ms)
RQ_JOB_QUEUES = "of:rq-job-queues"  # hash: the queue that it came from
BREAKER = "of:breaker:"  # hash, by target (`backend/model` or `key:...`): state, epoch, since, until, why, ...
BREAKERS = "of:breakers"  # set: the targets that ever counted a failure
BREAKER_WINDOW = "of:breaker-window:"  # hash, by target: {slot}:n (calls), :f(ailed), :s(low), :r(etries), :ms
BLOCKED = "of:blocked"  # hash: the targets that may not be called, and until when. Empty when all is well
LAST_KEYS = "of:last-keys"  # hash: backend with several keys -> the name of the key that was used last
LIMITS = "of:limits:"  # hash, by backend: {key} {limit} -> when its bucket is full again (ms). See lib/rate_limits.lua
BREAKER_HISTORY = "of:breaker-history"  # list: the last changes of any breaker, newest first
LEDGER = "of:ledger:"  # hash, by day: calls and costs by model, backend and group
PLAN = "of:plan:"  # hash, by key of a flat-rate backend: the windows of its limits, calls in them, learned caps
UNEXPECTED = "of:unexpected:"  # hash, by day: metered calls in place of models that cost nothing, and when the last was
BUDGET_SUMS = "of:budget-sums"  # hash: {budget}:{window}[:{who}] -> its sums: see budget_sums.lua
BUDGETS = "of:budgets"  # zset: the budgets with a call -> when their window ends (ms)
BUDGET_RAISES = "of:budget-raises"  # hash: budget -> {nanodollars} {until, ms} of each raise of its limit
LOADED = "of:loaded"  # hash: backend -> the models in its memory
LOAD_ERRORS = "of:load-errors"  # hash: target -> why its last load failed, until the model is in memory
OTHER_MODELS = "of:other-models"  # hash: backend -> its models that no catalog entry names
HEALTH = "of:health"  # hash: target -> its last health check
LOCK = "of:lock:"  # string with a TTL: one worker does this for the whole fleet
FALLS = "of:falls"  # stream, bounded: one record for each fall, as JSON. No prompt, no answer
INCIDENTS = "of:incidents"  # hash: reason -> id of its open incident
INCIDENT = "of:incident:"  # hash, by id: began, last, falls, held, replayed, ... and what each notifier was sent
HELD = "of:held:"  # zset, by model: held jobs that it may release -> urgency and age: what is released first
HELD_LATER = "of:held-later"  # zset: held jobs that no model releases before a time (ms)
RELEASED = "of:released:"  # zset, by model: jobs that it released and that have not ended there -> since (ms)
RELEASE_WINDOW = "of:release-window"  # hash: model -> how many of those were answered: as many more may be released
LAST_ANSWER = "of:last-answer:"  # string, by group and digest: the last good result of the same request
INBOX = "of:inbox:"  # stream, by name: results for a producer, until it acknowledges them
INBOXES = "of:inboxes"  # zset: name of an inbox -> when its last entry expires (ms)
OUTBOX = "of:outbox"  # zset: pending entry (`job:...`, `notice:...`) -> its next try (ms)
OUTBOX_ENTRY = "of:outbox-entry:"  # hash, by entry of the outbox: tries, since, lease, why the last try failed
DEAD_LETTERS = "of:dead-letters"  # list, bounded: entries whose last try failed, as JSON, newest first
NOTICE_RATE = "of:notice-rate"  # hash: notifier -> times of its new incidents (ms); {notifier}:unmentioned: a count
CREDITS = "of:credits:"  # hash, by pool: credit of the less urgent jobs (see urgency_shares.lua)
MEMORY_PRESSURE = "of:memory-pressure"  # string with a TTL: why no job is accepted
MEMORY_PRESSURE_SINCE = "of:memory-pressure-since"  # string with a TTL: ms, maxmemory, jobs refused before
CALLER_LEASES = "of:caller-leases"  # zset: a job that ends with its caller -> until when the caller has a lease (ms)
GATEWAY_CATALOG = "of:gateway-catalog:"  # string with a TTL, by process of the HTTP gateway: the digest of its catalog
GATEWAYS = "of:gateways"  # zset: process of the HTTP gateway -> alive until (ms)
REPEATS = "of:repeats:"  # string with a TTL, by producer and digest: the job that a repeat of the request joins
RESPONSE = (
    "of:response:"  # hash with a TTL, by job: what a Response repeats of its request, and what it adds to the input
)
FILE = "of:file:"  # string with a TTL, by id: a file of the HTTP gateway, as JSON. Its data is on a disk
FILES = "of:files:"  # zset, by key of the gateway ('': of all keys): file -> created (ms)
FILE_DATA = "of:file-data:"  # zset, by directory: file whose data is there -> when it is examined for removal (ms)
BATCH = "of:batch:"  # hash, by id: a batch of the HTTP gateway, its status and its counts. A TTL once it has ended
BATCHES = "of:batches:"  # zset, by form and key of the gateway ('': of all keys): batch -> created (ms)
OPEN_BATCHES = "of:open-batches:"  # zset, by directory: batch that has not ended -> until when it has a runner (ms)
CLIENT_KEYS = "of:client-keys"  # hash: name -> a key of the HTTP gateway: its SHA-256, and what it may do
REFUSED = "of:refused:"  # hash, by day (UTC): {key} {cause} -> requests that the gateway refused, and the last (ms)
CARD_MANAGER = "of:card-manager:"  # hash, by pool: the worker that decides about its cards, its epoch, until when (ms)
CARD = "of:card:"  # hash, by card: its state (JSON) and the version of that. Written by the manager of its cards
CARD_ORDERS = "of:card-orders:"  # hash, by card: {verb} {model} -> when an operator ordered it (ms): load, unload, pin
CARD_ADMITTED = "of:card-admitted:"  # hash, by card: model -> the least urgent jobs that may be called (0-2)
CARD_USED = "of:card-used:"  # hash, by card: {model} {urgency} -> when a call last began or was in flight (ms)
CARD_MEMORY = "of:card-memory:"  # hash, by card and period (minute, hour): memory in use (MB). See card_memory.lua
MODEL_USE = "of:model-use:"  # hash with a TTL, by model: hour of the week -> minutes of use by people, and the week
MODEL_FACTS = "of:model-facts"  # hash: target -> GB and load times of a model on a card, as measured
UNMET_DEMAND = "of:unmet-demand:"  # list with a TTL, by model: when jobs went elsewhere because it was not loaded (ms)
AUDIT_LOG = "of:audit-log"  # stream, bounded: what operators did, as JSON
PAGE_SESSION = "of:page-session:"  # string with a TTL, by the digest of its cookie: the key that signed in, as JSON
DEPTHS = "of:depths:"  # list, for an hour and for a day: how many jobs waited, as JSON, newest first
COUNTERS = "of:counters"  # hash of totals, for metrics
METRICS = "of:metrics"  # hash: {family and labels} {cell} -> how often, or how much. See lib/metrics.lua
JOB_COUNTS = "of:job-counts"  # hash: {role} {urgency} {group} {model} {cell} -> how many jobs, ms and tokens
JOB_COUNTS_AT = "of:job-counts-at:"  # hash, by day or month (UTC): JOB_COUNTS as it was when that began
UNREADABLE = "of:unreadable"  # list, bounded: what was set aside because it could not be read, as JSON, newest first
SET_ASIDE = "of:set-aside:"  # a key that had another type than it must have, under its name
AUDIT = "of:audit"  # hash: the cursor of the audit, and which notes of UNREADABLE it has handled
AUDIT_CURSOR = "of:audit-cursor"  # string: how far the audit of unfinished jobs has come

BACKLOG_MARK = "~"
"""In the name of a list: between a queue and the producer whose backlog it is."""

INTERACTIVE_MARK = "i"
"""At the end of the token of an interactive job's lease. It tells which leases may use reserved slots."""

DEGRADE = "degrade"  # the queue of fallen jobs; its deferred registry lists the held ones


def pool_of(queue: str) -> str:
    """The pool of a queue."""
    return queue.partition(".")[0]


def model_of(queue: str) -> str:
    """The model of a queue; empty for `degrade`."""
    return queue.partition(".")[2].partition(".")[0]


def with_key_names(script: str) -> str:
    """A script with the names above as Lua strings: a function of Lua may have 200 locals, and use 60 of others."""
    values = {name: value for name, value in globals().items() if name.isupper() and isinstance(value, str)}
    return re.sub(r"\b[A-Z][A-Z_]*\b", lambda match: _quoted(values.get(match[0]), match[0]), script)


def _quoted(value: str | None, name: str) -> str:
    return name if value is None else f"'{value}'"
