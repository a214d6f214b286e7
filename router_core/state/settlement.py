"""A settle, put together: plain strings and bytes that can be sent, spooled, and sent again."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote

from pydantic_core import to_json

from openfall.router_core.catalog.policies import (
    BreakerPolicy,
)
from openfall.router_core.deciding.decide import Fall, Handoff, Later
from openfall.router_core.degrading.degrade import Hold, StandIn
from openfall.router_core.jobs.envelope import pack_attempt, pack_result
from openfall.router_core.jobs.outcome import (
    Attempt,
)
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.jobs import rq_text
from openfall.router_core.vocabulary import (
    CallSignal,
    CredentialSignal,
)

WINDOW_SLOTS = 10
"""Slots of time in the window of a breaker."""

NextStep = Handoff | Later | Fall | StandIn | Hold | Result | None
"""Where a settle moves a job: a result ends it; None puts it back as if it had never been delivered. What becomes of a
job that fell comes with the record of its fall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """A call that was made, as the breakers and the ledger hear of it.

    `took` and `wait` (what a 429 asked for) in seconds; `cost_usd` None: nobody knows; `chance` in [0, 1] spreads the
    time for which a breaker opens. The epochs are those that the claim was given.
    """

    attempt: Attempt
    group: str | None
    signal: CallSignal
    epoch: str
    credential: str
    credential_signal: CredentialSignal
    credential_epoch: str
    is_retry: bool
    cooldown_seconds: float
    jitter: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOutcome:
    """What came of a delivery. `call` is None when no model was asked; `answer` is one to keep with the job for later;
    `to_queue` is the queue that a hand-off or a later delivery goes to.

    `fall` is the record of the fall that this settles (JSON); `reply` what the caller of a held job is told meanwhile;
    `remember` under which name, and for how many seconds, an answer is kept for those who ask the same.
    """

    next_step: NextStep
    call: CallReport | None = None
    to_queue: str = ""
    answer: bytes = b""
    fall_record: bytes = b""
    interim_reply: Result | None = None
    remember_answer: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """One settle, ready to be sent, spooled and sent again."""

    id: str
    token: str
    args: tuple[str | bytes | int, ...]

    @property
    def status(self) -> str | None:
        """The status of the result that it brings; None when the job goes on."""
        return str(self.args[_STATUS]) if self.args[1] == "done" else None


_STATUS = 8
"""The place of the status in `Settle.args`, after worker, verb, attempt, call, rules, answer, fall and remember."""


def policy_arguments(policy: BreakerPolicy) -> str:
    """A breaker policy as the scripts read it: JSON, times in ms."""
    return to_json({
        "open_after": policy.consecutive_failures,
        "failure_rate": policy.failure_rate,
        "slow_rate": policy.slow_call_rate,
        "least_calls": policy.minimum_calls,
        "recover_after": policy.open_for * 1000,
        "recover_most": policy.open_for_max * 1000,
        "spread": policy.jitter,
        "forget_after": policy.reset_after * 1000,
        "probes": policy.probe_successes,
        "ramp": policy.slow_start * 1000,
    }).decode()  # fmt: skip


def bucket_ms(policy: BreakerPolicy) -> int:
    """Milliseconds of one slot of a breaker's window."""
    return max(1, int(policy.window * 1000 / WINDOW_SLOTS))


@dataclass(frozen=True, slots=True)
class SettlementBuilder:
    """Puts settles together for one worker.

    A prompt is dropped when its job is answered, unless `keep_prompts`; a failed job's is kept as long as its result.
    """

    worker: str
    policy: str
    bucket: int
    keep_prompts: bool

    def build(self, job_id: str, token: str, ending: DeliveryOutcome) -> Settlement:
        call, next_ = ending.call, ending.next_step
        told_by_result = isinstance(next_, Result) and next_.answered  # a failed job may be asked for again
        line = b"" if call is None or told_by_result else pack_attempt(call.attempt)
        verb, *rest = _verb(ending)
        told = "" if call is None else encode_call(call, self.bucket)
        if isinstance(next_, Result):
            rest.append(int(self.keep_prompts or next_.status is Status.FAILED))
        remember = (
            f"{max(1, int(ending.remember_answer[1]))} {ending.remember_answer[0]}" if ending.remember_answer else ""
        )
        common = (self.worker, verb, line, told, self.policy, ending.answer, ending.fall_record, remember)
        return Settlement(job_id, token, (*common, *rest))


_MOST = 10**15
"""The most that one call adds to a sum: what a backend says of itself must not make one overflow."""


def _counted(amount: float) -> int:
    return round(min(max(0, amount), _MOST))


def encode_call(call: CallReport, bucket: int) -> str:
    """A call as the scripts read it: see call.lua. `bucket` is that of `bucket_of`."""
    attempt = call.attempt
    cost = "-" if attempt.cost_usd is None else _counted(attempt.cost_usd * 1e9)
    group = quote(call.group, safe="") if call.group else "-"
    took = _counted((attempt.ended_at - attempt.started_at) * 1000)
    wait = _counted(call.cooldown_seconds * 1000) if call.cooldown_seconds else 0
    tokens = f"{_counted(attempt.input_tokens or 0)} {_counted(attempt.output_tokens or 0)}"
    return (
        f"{attempt.model} {attempt.backend} {group} {call.signal} {call.epoch} {took} {call.is_retry:d} "
        f"{call.credential or '-'} {call.credential_epoch} {call.credential_signal} {wait} {call.jitter:.6f} {bucket} "
        f"{attempt.error is not None:d} {tokens} {cost} {attempt.error or '-'}"
    )


def _verb(ending: DeliveryOutcome) -> list[str | bytes | int]:
    to_queue = ending.to_queue
    match ending.next_step:
        case None:
            return ["back"]
        case Handoff(at_front=at_front):
            return ["queue", to_queue, int(at_front)]
        case Later(delay=delay):
            return ["later", to_queue, int(delay * 1000)]
        case Fall(reason=reason, detail=detail):
            return ["fall", reason, detail]
        case StandIn(model=model, at_front=at_front, why=why, reason=reason):
            return ["stand_in", to_queue, int(at_front), model, why, reason]
        case Hold() as held:
            return ["hold", *_held(held, ending.interim_reply)]
        case Result() as result:
            return ["done", *_ending(result)]


def _held(held: Hold, reply: Result | None) -> tuple[str | bytes | int, ...]:
    told = b"" if reply is None else pack_result(reply)
    text = "" if reply is None else reply.text
    models, ready_at = ",".join(held.models), int(held.ready_at * 1000)
    keep_until = int(held.keep_until * 1000)
    return (held.reason, held.detail, held.by or "", text, models, ready_at, held.strikes, told, keep_until)


_RQ_STATUS = {
    Status.ANSWERED: "finished",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
    Status.CANCELLED: "stopped",
    Status.DEGRADED: "finished",
}


def _ending(result: Result) -> tuple[str | bytes | int, ...]:
    value = b""
    if result.answered:
        value = base64.b64encode(to_json({"status": result.status, "model": result.model}))
    why = rq_text(f"{result.error}: {result.detail}" if result.error else "")
    return (result.status, _RQ_STATUS[result.status], pack_result(result), value, why)
