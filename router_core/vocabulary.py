"""The words that all layers share: no logic. Redis and the configuration contain their values."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Dialect = Literal["openai", "anthropic", "ollama", "responses"]
"""The wire format of a caller. The job keeps the body in it. `openai` are its chat completions."""

GENERATE_ONLY = ("raw", "suffix", "template", "context")
"""Fields of Ollama's `/api/generate` that no chat has. A request of its dialect with one of them is a generate."""


class JobKind(StrEnum):
    """What a job asks of a model."""

    COMPLETION = "completion"
    EMBEDDING = "embedding"  # a vector for each of its texts


class Urgency(StrEnum):
    """How soon an answer must start. Workers read the queues in the order of declaration."""

    INTERACTIVE = "interactive"
    BACKGROUND = "background"
    BATCH = "batch"


UrgencyName = Literal["interactive", "background", "batch"]
"""The values of `Urgency`, for a type checker that reads a caller's text."""


class ErrorClass(StrEnum):
    """The one list of failures, grouped by whose fault they are."""

    # the caller's
    BAD_REQUEST = "bad_request"  # this model refuses the request; another may accept it
    CONTEXT_OVERFLOW = "context_overflow"
    CONTENT_FILTER = "content_filter"
    UNSUPPORTED = "unsupported"  # this model cannot do what the request needs; another may
    CANCELLED = "cancelled"
    # a policy's
    BUDGET = "budget"  # its call does not fit into a budget
    LOCAL_ONLY = "local_only"
    PAUSED = "paused"
    # the provider's
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    AUTH = "auth"
    OUT_OF_CREDITS = "out_of_credits"
    FORBIDDEN = "forbidden"  # this call is not allowed; other calls with the same key may be
    MALFORMED = "malformed"
    NOT_INSTALLED = "not_installed"
    INVALID_OUTPUT = "invalid_output"
    # openfall's own
    NO_WORKER = "no_worker"
    NO_VRAM = "no_vram"
    WORKER_LIMIT = "worker_limit"  # the worker lacks descriptors, memory, ports or threads
    CRASHED = "crashed"
    OTHER = "other"


class ServedBy(StrEnum):
    """Where an answer was computed."""

    LOCAL = "local"  # in a local pool: on the owner's machines
    CLOUD = "cloud"  # anywhere else


class Severity(StrEnum):
    """How likely the same call is to succeed a little later."""

    TRANSIENT = "transient"  # likely: retry
    DEGRADED = "degraded"  # perhaps: retry a limited number of times
    FATAL = "fatal"  # no: not this model


class CallSignal(StrEnum):
    """What a call reports to the breaker of its backend and model."""

    OK = "ok"
    SLOW = "slow"  # it answered, and took longer than `slow_after`
    FAILURE = "failure"
    NEUTRAL = "neutral"
    TRIP = "trip"  # it cannot work before an operator repairs it: open at once


class CredentialSignal(StrEnum):
    """What a call reports about its key."""

    FINE = "fine"
    COOLDOWN = "cooldown"  # wait for Retry-After
    PARK = "park"  # stop using it until its probe succeeds


class LimitScope(StrEnum):
    """What a limit of a provider counts."""

    KEY = "key"  # all calls of a key, an account, a plan
    MODEL = "model"  # the calls of one model, or of some models
    UNKNOWN = "unknown"


class Fallback(StrEnum):
    """Why another model than the first answers."""

    OVERLOAD = "overload"  # it is overloaded, or limits the rate
    UNAVAILABLE = "unavailable"  # it cannot be reached, does not exist, or is broken
    CONTEXT = "context"  # the prompt is too long for it
    POLICY = "policy"  # a rule forbids it: a filter, a budget, local only
    OUTPUT = "output"  # its answer failed a check


class BlockReason(StrEnum):
    """Why no call may be made to a model."""

    BREAKER = "breaker"
    COOLDOWN = "cooldown"
    LIMIT = "limit"
    CREDENTIAL = "credential"
    PAUSED = "paused"
    NO_WORKER = "no_worker"
    LOCAL_ONLY = "local_only"
    UNHEALTHY = "unhealthy"
    BUDGET = "budget"


class BreakerState(StrEnum):
    """`closed`: calls pass. `open`: none does. `half_open`: only a probe does, one in the whole fleet."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class HoldReason(StrEnum):
    """Why a job fell. A held job keeps the reason while it is parked in `degrade`."""

    OUTAGE = "outage"  # no model of its chain takes calls, and the job is not at fault
    LOCAL_ONLY = "local_only"  # only a local-only rule prevents its answer
    PAUSED = "paused"  # only paused queues prevent its answer
    BUDGET = "budget"  # its budget is spent
    OWN_FAULT = "own_fault"  # its models take calls, and none gives an answer that passes
    POISONED = "poisoned"  # its workers die
    UNREADABLE = "unreadable"  # a newer openfall wrote it


RELEASED_BY_ITSELF = frozenset({HoldReason.OUTAGE, HoldReason.LOCAL_ONLY, HoldReason.PAUSED, HoldReason.BUDGET})
"""Reasons that end without an operator. Jobs with any other reason wait for `openfall held replay`."""


FLAT_PLAN = "flat_plan"
"""The reason of an incident of a flat-rate backend that takes no calls. No job falls for it."""
UNEXPECTED_SPEND = "unexpected_spend"
"""Metered models answer in place of models that cost nothing. No job falls for it."""
BUDGET_LOW = "budget_low"
"""A budget has reached its soft share, or will reach its limit early. No job falls for it."""
BUDGET_SPENT = "budget_spent"
"""A budget is spent, and refuses calls without holding their jobs. No job falls for it."""
PLAN_LOW = "plan_low"
"""A subscription is nearly used up. No job falls for it."""
MONEY_REASONS = frozenset({UNEXPECTED_SPEND, BUDGET_LOW, BUDGET_SPENT, PLAN_LOW})


class Remedy(StrEnum):
    """What openfall does for the caller of a job that fell: the first of its list that is available."""

    DEFAULT_FALLBACK = "default_fallback"  # a model outside its chain answers
    LAST_ANSWER = "last_answer"  # the last good answer to the same request
    CANNED_REPLY = "canned_reply"  # a text from the configuration
    HOLD = "hold"  # the job waits for its own models; a reply before it is an interim reply
    FAIL = "fail"  # the job ends, failed


class LoadState(StrEnum):
    """The state of a model at one backend."""

    NOT_LOADED = "not_loaded"
    LOADING = "loading"
    READY = "ready"
    IN_USE = "in_use"
    CLOSING = "closing"  # it gets no new call and leaves its card, or is being unloaded
    ERROR = "error"  # its breaker is open, its key is parked, its health check or its last load failed
    UNKNOWN = "unknown"  # no recent report or call


MODEL_WAITS = frozenset({"loading", "waiting_for_model", "model_switching"})
"""Events of a job whose model must first be in memory."""
