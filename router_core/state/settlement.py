"""Settlements of deliveries: plain bytes that can be sent, spooled, and sent again."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic_core import from_json, to_json

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.rate_limits import ChargedCall, Rate, corrections
from openfall.router_core.deciding.cost import FREE_ERRORS
from openfall.router_core.deciding.steps import Fall, Handoff, Later
from openfall.router_core.deciding.substitution import Substitution
from openfall.router_core.degrading.degrade import DefaultFallback
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.envelope import pack_attempt, pack_result
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.budget_book import write_over
from openfall.router_core.state.call_money import NO_MONEY, CallMoney, bounded, encode_money, money_sums
from openfall.router_core.state.delivery_counts import DeliveryCounts, DeliveryEnd, count_delivery
from openfall.router_core.state.jobs import rq_text
from openfall.router_core.state.ledger import encode_entry, encode_substitution, ledger_group
from openfall.router_core.state.redis_connection import pack_arguments
from openfall.router_core.vocabulary import CallSignal, CredentialSignal

WINDOW_SLOTS = 10
"""Slots of time in the window of a breaker."""
MAX_BREAKER_HISTORY = 200
"""Changes of breakers that are kept."""
MAX_FALLS = 10_000
"""Records of falls that are kept, about."""

NextStep = Handoff | Later | Fall | DefaultFallback | Hold | Result | None
"""Where a settle moves a job. A result ends it; None puts it back as if it had never been delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """The report of a call for the breakers and the ledger. `role`: of its job, or the task of a job without a role.

    `one_of_several`: the backend has other keys, so a cooldown is of this key alone. `is_slow`: it is counted as slow
    beside its signal. `cooldown_seconds`: what a 429 asked for. `jitter` in [0, 1] spreads the time for which a breaker
    opens. The epochs are those of the claim."""

    attempt: Attempt
    group: str | None
    signal: CallSignal
    epoch: str
    credential: str
    credential_signal: CredentialSignal
    credential_epoch: str
    cooldown_seconds: float
    jitter: float
    one_of_several: bool = False
    is_slow: bool = False
    money: CallMoney = NO_MONEY
    role: str | None = None
    producer: str = ""
    first_token_seconds: float | None = None
    """From the start of the call to the first piece of its answer. None: it was not streamed, or had none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOutcome:
    """The outcome of a delivery. `call` is None when no model was called. `answer` is kept with the job for later.
    `to_queue`: where a hand-off or a later delivery goes.

    `substitution`: the job ends with an answer in place of its first choice.
    `fall_record` (JSON): the fall that this settles. `interim_reply`: the reply of a held job. `remember_answer`: the
    key and the seconds for which an answer is kept for the same request."""

    next_step: NextStep
    call: CallReport | None = None
    to_queue: str = ""
    answer: bytes = b""
    fall_record: bytes = b""
    interim_reply: Result | None = None
    substitution: Substitution | None = None
    remember_answer: tuple[str, float] | None = None
    counts: DeliveryCounts | None = None
    """None: the script counts the end of the job with what it knows of it."""
    cut: bool = False
    """A call may have been made, and its outcome is not known: what it reserved may have been billed."""

    def counted(self, job: CompletionJob, model: str, fall_reason: str | None = None) -> DeliveryOutcome:
        """The outcome with what it adds to the counts. `model`: in whose queue the job was claimed."""
        end = DeliveryEnd(
            model=model,
            step=self.next_step,
            attempt=None if self.call is None else self.call.attempt,
            first_token_seconds=None if self.call is None else self.call.first_token_seconds,
            substituted=self.substitution is not None,
            fall_reason=fall_reason,
        )
        return replace(self, counts=count_delivery(job, end))


@dataclass(frozen=True, slots=True)
class Settlement:
    """One settle, ready to be sent, spooled and sent again. `args` are its packed arguments and its bodies."""

    id: str
    token: str
    args: tuple[bytes, ...]

    @property
    def status(self) -> str | None:
        """The status of the result that it brings; None when the job goes on."""
        status = from_json(self.args[0]).get("status")
        return None if status is None else str(status)


def policy_arguments(policy: BreakerPolicy) -> bytes:
    """A breaker policy as the scripts read it: JSON, times in seconds; and the length of a slot of its window."""
    slot_ms = max(1, int(policy.window * 1000 / WINDOW_SLOTS))
    more = {"window_slots": WINDOW_SLOTS, "slot_ms": slot_ms, "max_history": MAX_BREAKER_HISTORY}
    return to_json({**policy.model_dump(), **more})


def build_settlement(  # noqa: PLR0913 - two of them are keywords
    job_id: str,
    token: str,
    outcome: DeliveryOutcome,
    policy: bytes,
    *,
    keep_prompts: bool,
    limits: Mapping[str, Any] | None = None,
) -> Settlement:
    """The settlement of one delivery. `policy`: see `policy_arguments`. `limits`: see `limit_arguments`.

    A prompt is deleted when its job is answered, unless `keep_prompts`. A failed job's is kept as long as its result.
    """
    call, step = outcome.call, outcome.next_step
    in_result = isinstance(step, Result) and step.answered  # a failed job's attempts are kept: it may run again
    attempt = b"" if call is None or in_result else pack_attempt(call.attempt)
    arguments = {
        "id": job_id,
        "token": token,
        "call": None if call is None else encode_call(call),
        "limits": limits,
        "max_falls": MAX_FALLS if outcome.fall_record else None,
        "cut": outcome.cut or None,
        **_step_arguments(outcome),
    }
    result = step if isinstance(step, Result) else outcome.interim_reply
    if isinstance(step, Result):
        arguments["keep_prompt"] = keep_prompts or step.status is Status.FAILED or None
    if outcome.substitution:
        arguments["substitution"] = encode_substitution(outcome.substitution)
    if outcome.counts is not None:
        arguments |= count_arguments(outcome.counts)
    if outcome.remember_answer:
        key, seconds = outcome.remember_answer
        arguments["remember"] = {"key": key, "seconds": max(1, int(seconds))}
    packed = b"" if result is None else pack_result(result)
    bodies = policy, attempt, outcome.answer, outcome.fall_record, packed
    return Settlement(job_id, token, (pack_arguments(arguments), *bodies))


def count_arguments(counts: DeliveryCounts) -> dict[str, Any]:
    """Counts as the scripts read them: see metrics.lua."""
    return {"job_counts": counts.jobs, "metrics": counts.metrics}


def limit_arguments(
    backend: str, rates: Sequence[Rate], charged: ChargedCall, call: CallReport | None
) -> dict[str, Any] | None:
    """How the scripts correct the limits of a key after a call (None: none was made). None: the estimate was right."""
    moved = corrections(rates, charged, None if call is None else _used_tokens(call.attempt), called=call is not None)
    return {"backend": backend, "moved": moved} if moved else None


def _used_tokens(attempt: Attempt) -> int | None:
    """The tokens that the provider counted; None: unknown. A call that was refused used none."""
    if attempt.input_tokens is None and attempt.output_tokens is None:
        return 0 if attempt.error in FREE_ERRORS else None
    return bounded((attempt.input_tokens or 0) + (attempt.output_tokens or 0))


def encode_call(call: CallReport, *, is_probe: bool = False) -> dict[str, Any]:
    """A call as the scripts read it: see call_report.lua. What most calls do not have is left out: the time of a settle
    grows with the length of its arguments."""
    attempt, seconds = call.attempt, call.attempt.ended_at - call.attempt.started_at
    sums, is_fine = money_sums(call.money), call.credential_signal is CredentialSignal.FINE
    opens_nothing = is_fine and call.signal is CallSignal.OK and call.money.plan is None
    if attempt.error is not None:
        sums["failed"] = 1
    if is_probe:
        sums["probes"] = 1
    optional = {
        "is_slow": call.is_slow or call.signal is CallSignal.SLOW,
        "key_signal": None if is_fine else call.credential_signal,
        "cooldown_ms": bounded(call.cooldown_seconds * 1000),
        "one_of_several": call.one_of_several,
        "error": attempt.error,
        "cause": attempt.cause if attempt.error is not None else None,
        "http_status": attempt.http_status,
        "jitter": 0 if opens_nothing else call.jitter,
    }
    return {
        "model": attempt.model,
        "backend": attempt.backend,
        "group": ledger_group(call.group),
        "signal": call.signal,
        "epoch": call.epoch,
        "duration_ms": bounded(seconds * 1000),
        "key": call.credential,
        "key_epoch": call.credential_epoch,
        "input_tokens": bounded(attempt.input_tokens or 0),
        "output_tokens": bounded(attempt.output_tokens or 0),
        **encode_entry(call.role, call.producer, seconds, attempt.cost_nusd, sums),
        **({} if attempt.cost_nusd is None else {"cost_nusd": bounded(attempt.cost_nusd)}),
        **{name: value for name, value in optional.items() if value},
        **encode_money(call.money),
    }


def move_arguments(step: Handoff | Later | Fall, queue: str) -> dict[str, Any]:
    """Where a script moves a job: the verb, and its own arguments."""
    match step:
        case Handoff():
            return {"verb": "queue", "queue": queue, "at_front": step.at_front}
        case Later():
            return {"verb": "later", "queue": queue, "delay_ms": int(step.delay * 1000)}
        case Fall():
            over = None if step.over is None else write_over(step.over)
            return {"verb": "fall", "reason": step.reason, "detail": step.detail, "over": over}


def _step_arguments(outcome: DeliveryOutcome) -> dict[str, Any]:
    """The verb of a settle, and its own arguments."""
    match outcome.next_step:
        case None:
            return {"verb": "back"}
        case DefaultFallback() as step:
            return {"verb": "default_fallback", "queue": outcome.to_queue, **asdict(step)}
        case Hold() as hold:
            return {"verb": "hold", "hold": _hold(hold, outcome.interim_reply)}
        case Result() as result:
            return {"verb": "done", **_end(result)}
        case step:
            return move_arguments(step, outcome.to_queue)


def _hold(hold: Hold, reply: Result | None) -> dict[str, Any]:
    arguments = {
        "reason": hold.reason,
        "detail": hold.detail,
        "text": "" if reply is None else reply.text,
        "models": ",".join(hold.models),
        "ready_at": int(hold.ready_at * 1000),
        "late_models": ",".join(hold.late_models),
        "late_at": int(hold.late_at * 1000),
        "strikes": hold.strikes,
        "keep_until": int(hold.keep_until * 1000),
    }
    return {**arguments, "remedy": hold.by} if hold.by else arguments


_RQ_STATUS = {
    Status.ANSWERED: "finished",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
    Status.CANCELLED: "stopped",
    Status.DEGRADED: "finished",
}


def _end(result: Result) -> dict[str, Any]:
    arguments: dict[str, Any] = {"status": result.status, "rq_status": _RQ_STATUS[result.status]}
    if result.answered:
        value = to_json({"status": result.status, "model": result.model})
        arguments["rq_value"] = base64.b64encode(value).decode()
    if result.error:
        arguments["rq_error"] = rq_text(f"{result.error}: {result.detail}")
    return arguments
