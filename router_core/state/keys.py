"""Every key in Redis, in one place: rq's own, which rq's tools read, and ours, which hold what rq must not.

Names that end in ':' are prefixes. Lua reads them as globals-to-be: `lua_names()` makes them locals of each script.
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

# Ours.
RECORD = "of:job:"  # hash: where a job is and how it got there. Short fields only: Redis then packs it tightly
PROMPT = "of:prompt:"  # string: the envelope. No TTL until the job has its result
RESULT = "of:result:"  # string: the terminal result, with every attempt
EVENTS = "of:events:"  # list: what happened to a job, as JSON; the index is the cursor
JOB_CHANGED = "of:job-changed:"  # channel: something was added to a job's events
IDEMPOTENCY = "of:idem:"  # string: {job id} {digest}, by producer and key
UNFINISHED = "of:unfinished"  # zset: every job without a result -> when the sweep examines it next (ms)
ANSWERS = "of:answers:"  # list: answers kept with a job until the best of them is chosen
LEASES = "of:leases:"  # zset, by backend: {job id}:{token} -> end of the lease (ms). Its size is the slots in use
BACKENDS = "of:backends"  # set: the backends that workers have named: where leases may be
SCHEDULED = "of:scheduled:"  # zset, by pool: job id -> when it is due (ms)
SUSPECTS = "of:suspects:"  # zset, by pool: a job that may be crashing its workers -> reserved until (ms)
WAKEUP = "of:wakeup:"  # list, by queue: one entry wakes one waiting worker
PAUSED = "of:paused"  # set of queue names
PRESENCE = "of:presence"  # zset: worker -> alive until (ms)
LAST_BEAT = "of:last-beat"  # string: when any worker was last heard of (ms)
RQ_JOBS_TAKEN = "of:rq-jobs"  # zset: rq job that is none of ours, taken by a worker -> until (ms)
RQ_JOB_QUEUES = "of:rq-job-queues"  # hash: the queue it came from
BREAKER = "of:breaker:"  # hash, by target (`backend/model` or `key:...`): state, epoch, since, until, why, opens, ...
BREAKERS = "of:breakers"  # set: the targets that ever had trouble
BREAKER_WINDOW = (
    "of:breaker-window:"  # hash, by target: recent calls by slot: {slot}:n, :f(ailed), :s(low), :r(etries), :ms
)
BLOCKED = "of:blocked"  # hash: what no call may be made to, and since or until when. Empty when all is well
BREAKER_HISTORY = "of:breaker-history"  # list: the last changes of any breaker, newest first
LEDGER = "of:ledger:"  # hash, by day: what was called for whom and what it cost
LOADED = "of:loaded"  # hash: backend -> the models in its memory
HEALTH = "of:health"  # hash: target -> what its last health check came to
LOCK = "of:lock:"  # string with a TTL: somebody is looking at this for the whole fleet
FALLS = "of:falls"  # stream, bounded: one record for each fall, as JSON. No prompt, no answer
INCIDENTS = "of:incidents"  # hash: reason -> id of the incident that goes on (an outage, say)
INCIDENT = "of:incident:"  # hash, by id: began, last, falls, held, replayed, ... and what was told of it to whom
HELD = "of:held:"  # zset, by model: held jobs that it may release -> urgency and age: what is released first
HELD_LATER = "of:held-later"  # zset: held jobs that nothing releases before a moment (ms)
RELEASED = "of:released:"  # zset, by model: jobs that it released and that have not ended there -> since (ms)
RELEASE_WINDOW = "of:release-window"  # hash: model -> how many of those there may be at once, for now
LAST_ANSWER = "of:last-answer:"  # string, by group and digest: the last good result of the same request
INBOX = "of:inbox:"  # stream, by name: what came of the jobs of a producer, until it has acknowledged it
OUTBOX = "of:outbox"  # zset: what is to be posted (`job:...`, `notice:...`) -> when it is tried next (ms)
OUTBOX_ENTRY = "of:outbox-entry:"  # hash, by entry of the outbox: tries, since, lease, why the last one failed
DEAD_LETTERS = "of:dead-letters"  # list, bounded: what was posted in vain for the last time, as JSON, newest first
NOTICE_RATE = (
    "of:notice-rate"  # hash: notifier -> when it was told of new incidents (ms); {notifier}:unmentioned -> a count
)
CREDITS = "of:credits:"  # hash, by pool: what the less urgent have coming while the more urgent are served
MEMORY_PRESSURE = "of:memory-pressure"  # string with a TTL: why nothing more is accepted
COUNTERS = "of:counters"  # hash of totals, for metrics
AUDIT_CURSOR = "of:audit-cursor"  # string: how far the audit of open jobs has come

DEGRADE = "degrade"  # the queue whose deferred registry holds what nothing can serve


def model_of(queue: str) -> str:
    """The model that a queue is of; empty for `degrade`, which is of none."""
    return queue.partition(".")[2].partition(".")[0]


def lua_names(script: str) -> str:
    """The names above that a script mentions, as Lua locals for its head."""
    words = set(re.findall(r"\b[A-Z_]+\b", script))
    names = {name: value for name, value in globals().items() if name in words and isinstance(value, str)}
    return "".join(f"local {name} = '{value}'\n" for name, value in names.items())
