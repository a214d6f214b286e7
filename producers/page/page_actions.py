"""What may be pressed on the page. Each action is a function of `producers.operations`, as on the command line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from openfall.producers.amount_text import format_usd
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.job_request import parse_duration
from openfall.producers.operations.breaker_override import describe_unknown_keys, force_breaker, reset_breaker
from openfall.producers.operations.budget_raise import raise_budget
from openfall.producers.operations.held_actions import HeldSelection, describe_returned, drop_jobs, replay_jobs
from openfall.producers.operations.job_selection import JobSelection, JobVerb, act_on_jobs, find_jobs
from openfall.producers.operations.key_admin import revoke_key
from openfall.producers.operations.local_only_switch import set_local_only
from openfall.producers.operations.model_orders import order_model
from openfall.producers.operations.notification_orders import OutboxSelection, order_outbox
from openfall.producers.operations.operator import Operator
from openfall.producers.operations.queue_pause import pause_queues, resume_queues
from openfall.producers.operations.worker_orders import EFFECTS, WorkerOrder, order_worker
from openfall.producers.page.action_contexts import what_a_budget_lacks, who_keeps_jobs_local
from openfall.producers.page.batch_actions import cancel_batch, retry_batch
from openfall.producers.shell_command import shell_command
from openfall.router_core.state.breakers import BreakerOverride
from openfall.router_core.state.outbox_orders import OutboxVerb
from openfall.router_core.vocabulary import BreakerState

Form = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FormField:
    """A question before an action. `choices`: values and labels; empty: any text."""

    name: str
    label: str
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PageAction:
    """Something to press. `command`: what a person types behind `openfall` to do the same; `{subject}` stands for what
    it concerns. `run` returns what happened, as a sentence. `question`: it is confirmed first, on a page of its own.
    Empty: it acts at once. `read_context` returns what a person considers before the answer about a
    subject, in sentences."""

    command: str
    label: str
    run: Callable[[Operator, Form], Awaitable[str]]
    question: str = ""
    explanation: str = ""
    fields: tuple[FormField, ...] = ()
    is_dangerous: bool = False
    needs_administrator: bool = False
    read_context: Callable[[Operator, str], Awaitable[str]] | None = None

    def command_line(self, subject: str) -> str:
        """What a person types to do the same. `{subject}` stands behind all options, so it may begin with `-`."""
        before, is_named, behind = self.command.partition("{subject}")
        return shell_command(f"openfall {before.rstrip()}", subject) + behind if is_named else f"openfall {before}"


REASON = FormField("reason", "Why (for the audit log)")
LASTS = FormField(
    "lasts", "For", (("10m", "10 minutes"), ("1h", "1 hour"), ("4h", "4 hours"), ("", "until it is reset"))
)
USD = FormField("usd", "US dollars to add to its limit (0 ends an earlier raise)")
UNTIL = FormField("lasts", "For", (("6h", "6 hours"), ("1d", "1 day"), ("7d", "7 days")))


def _subject(form: Form) -> str:
    if not form.get("subject"):
        raise Refusal("bad_request", "this form does not say what it concerns", "subject")
    return form["subject"]


def _force(state: Literal[BreakerState.OPEN, BreakerState.CLOSED]) -> Callable[[Operator, Form], Awaitable[str]]:
    async def force(operator: Operator, form: Form) -> str:
        lasts = form.get("lasts", "")
        why = form.get("reason", "").strip() or f"{operator.name} forced it"
        override = BreakerOverride(state, why, parse_duration(lasts, "lasts") if lasts else None)
        name = _subject(form)
        after = await force_breaker(operator, name, override)
        return f"{name} is {after} for {lasts}" if lasts else f"{name} is {after} until it is reset"

    return force


async def _reset_breaker(operator: Operator, form: Form) -> str:
    name = _subject(form)
    state = await reset_breaker(operator, name)
    others = await describe_unknown_keys(operator, name)
    return ". ".join(filter(None, (f"{name} works automatically: it is {state.replace('_', ' ')}", others)))


async def _turn_local_only_on(operator: Operator, form: Form) -> str:
    await set_local_only(operator, True, form.get("reason", "").strip())
    return "No job leaves the local pools"


async def _turn_local_only_off(operator: Operator, _form: Form) -> str:
    await set_local_only(operator, False)
    return "Jobs may go to cloud models again"


async def _pause(operator: Operator, form: Form) -> str:
    changes = await pause_queues(operator, _subject(form), form.get("reason", "").strip())
    return f"{len(changes)} queues are paused" if len(changes) != 1 else f"{next(iter(changes))} is paused"


async def _resume(operator: Operator, form: Form) -> str:
    changes = await resume_queues(operator, _subject(form))
    return f"{len(changes)} queues are resumed" if len(changes) != 1 else f"{next(iter(changes))} is resumed"


async def _replay(operator: Operator, form: Form) -> str:
    states = await replay_jobs(operator, HeldSelection(ids=(_subject(form),)))
    return next((f"{id_[:8]} is {state}" for id_, state in states.items()), "It is no longer held")


async def _replay_ready(operator: Operator, _form: Form) -> str:
    states = await replay_jobs(operator, HeldSelection(ready=True))
    queued = sum(state == "queued" for state in states.values())
    return describe_returned(queued)


async def _drop(operator: Operator, form: Form) -> str:
    dropped = await drop_jobs(operator, HeldSelection(ids=(_subject(form),)))
    return f"{dropped[0][:8]} is dropped" if dropped else "It is no longer held"


async def _cancel_job(operator: Operator, form: Form) -> str:
    selection = JobSelection(ids=(_subject(form),))
    (job_id,) = await find_jobs(operator, JobVerb.CANCEL, selection)
    ended = (await act_on_jobs(operator, JobVerb.CANCEL, [job_id], selection))[job_id]
    return f"{job_id[:8]} is cancelled" if ended else f"{job_id[:8]} had ended already"


async def _raise_budget(operator: Operator, form: Form) -> str:
    name, typed, lasts = _subject(form), form.get("usd", "").strip().removeprefix("$"), form.get("lasts", "1d")
    try:
        usd = float(typed)
    except ValueError:
        raise Refusal("bad_request", f"{typed[:20]!r} is no number of US dollars: write 5 or 0.50", "usd") from None
    done = await raise_budget(operator, name, usd, lasts, form.get("reason", "").strip())
    if not usd:
        return f"The raises of the budget {name} have ended"
    more = f"{format_usd(usd)} more for {lasts}, {format_usd(done.total_nusd / 1e9)} with the raises before"
    return f"The budget {name} has {more}. Held jobs that fit now return by themselves"


async def _revoke_key(operator: Operator, form: Form) -> str:
    name = _subject(form)
    await revoke_key(operator, name)
    return f"The key {name} is revoked"


def _order_model(verb: str) -> Callable[[Operator, Form], Awaitable[str]]:
    async def give(operator: Operator, form: Form) -> str:
        config, model = operator.llm.config, _subject(form)
        orders = order_model(config, operator.link, verb, model, actor=operator.name, via=operator.via)
        return "; ".join([f"{report['backend']}: {report['message']}" async for report in orders])

    return give


def _order_outbox(
    verb: OutboxVerb, selection: OutboxSelection | None = None
) -> Callable[[Operator, Form], Awaitable[str]]:
    """An order about the entry of a form, or about a selection."""

    async def give(operator: Operator, form: Form) -> str:
        change = await order_outbox(operator, verb, selection or OutboxSelection(names=(_subject(form),)))
        return f"{change} notifications {'are due now' if verb is OutboxVerb.RETRY else 'are dropped'}"

    return give


def _order(order: WorkerOrder) -> Callable[[Operator, Form], Awaitable[str]]:
    async def give(operator: Operator, form: Form) -> str:
        name = _subject(form)
        is_delivered = await order_worker(operator, name, order)
        return f"{name} {EFFECTS[order]}" if is_delivered else f"{name} does not listen: it is gone"

    return give


ACTIONS: Mapping[str, PageAction] = {
    "hold-open": PageAction(
        "breakers force-open --for 10m {subject}", "Hold open", _force(BreakerState.OPEN), "Hold {subject} open?",
        "No job and no probe is sent there. Its jobs go to the next model of their chain.", (LASTS, REASON),
    ),
    "hold-closed": PageAction(
        "breakers force-closed --for 10m {subject}", "Close now", _force(BreakerState.CLOSED), "Close {subject} now?",
        "Every call goes through, even if calls fail.", (LASTS, REASON),
    ),
    "reset-breaker": PageAction("breakers reset {subject}", "Automatic", _reset_breaker),
    "local-only-on": PageAction(
        "local-only on", "Switch on", _turn_local_only_on, "Keep every job in the local pools?",
        "It holds for queued jobs, fallbacks and replays too. Calls in flight end. Jobs that only a cloud model can "
        "answer are held until it is off.", (REASON,),
    ),
    "local-only-off": PageAction(
        "local-only off", "Switch off", _turn_local_only_off, "Let jobs leave the local pools?",
        "Their prompts may go to cloud models again. Held jobs return by themselves. Requests that were refused do "
        "not: their callers send them again.", read_context=who_keeps_jobs_local,
    ),
    "raise-budget": PageAction(
        "budgets raise --for 1d {subject} 5", "Raise", _raise_budget, "Raise the budget {subject}?",
        "The amount is added to its limit for that time, from the next call on. A call fits when what is left covers "
        "the most that it may cost. Held jobs that fit then return by themselves.",
        (USD, UNTIL, REASON), read_context=what_a_budget_lacks,
    ),
    "pause": PageAction(
        "queues pause {subject}", "Pause", _pause, "Pause {subject}?",
        "No job is claimed from these queues. They accept jobs all the same.", (REASON,),
    ),
    "resume": PageAction("queues resume {subject}", "Resume", _resume),
    "replay": PageAction("held replay {subject}", "Replay", _replay),
    "replay-poisoned": PageAction(
        "held replay {subject}", "Replay", _replay, "Replay the job {subject}, which killed its workers?",
        "It may kill workers again, and stop the other calls that they make. Read the end of the log of its last "
        "worker first. Its crashes count from 0 again.", is_dangerous=True,
    ),
    "replay-ready": PageAction("held replay --ready", "Replay all that can run", _replay_ready),
    "drop": PageAction(
        "held drop {subject}", "Drop", _drop, "Drop the job {subject} for good?",
        "It ends as cancelled, without an answer. Nothing brings it back.", is_dangerous=True,
    ),
    "cancel-job": PageAction(
        "job cancel {subject}", "Cancel", _cancel_job, "Cancel the job {subject}?",
        "Its call is stopped, and its caller gets no answer.", is_dangerous=True,
    ),
    "cancel-batch": PageAction(
        "batch cancel {subject}", "Cancel", cancel_batch, "Cancel the batch {subject}?",
        "Its lines without an answer end. Answers stay.", is_dangerous=True,
    ),
    "retry-batch": PageAction(
        "batch retry {subject}", "Retry failed", retry_batch, "Submit the failed lines of the batch {subject} again?",
        "Each is a new call, which may cost money. The same batch run command with --retry-failed collects the results "
        "on that machine.",
    ),
    "load-model": PageAction("models load {subject}", "Load", _order_model("load")),
    "unload-model": PageAction(
        "models unload {subject}", "Unload", _order_model("unload"), "Unload {subject}?",
        "It leaves the memory of its card when its calls have ended. A job that needs it loads it again.",
    ),
    "check-model": PageAction("models check {subject}", "Check", _order_model("check")),
    "pin-model": PageAction("models pin {subject}", "Pin", _order_model("pin")),
    "unpin-model": PageAction("models unpin {subject}", "Unpin", _order_model("unpin")),
    "retry-notification": PageAction("outbox retry {subject}", "Try now", _order_outbox(OutboxVerb.RETRY)),
    "retry-waiting-notifications": PageAction(
        "outbox retry --waiting", "Try all now", _order_outbox(OutboxVerb.RETRY, OutboxSelection(waiting=True))
    ),
    "retry-failed-notifications": PageAction(
        "outbox retry --failed", "Try all again", _order_outbox(OutboxVerb.RETRY, OutboxSelection(failed=True))
    ),
    "drop-notification": PageAction(
        "outbox drop {subject}", "Drop", _order_outbox(OutboxVerb.DROP), "Drop the notification {subject}?",
        "Its receiver does not get it. The result of a job stays.", is_dangerous=True,
    ),
    "drop-failed-notifications": PageAction(
        "outbox drop --failed", "Drop all", _order_outbox(OutboxVerb.DROP, OutboxSelection(failed=True)),
        "Drop every notification that failed for good?", "Their receivers do not get them. The results of jobs stay.",
        is_dangerous=True,
    ),
    "revoke-key": PageAction(
        "keys revoke {subject}", "Revoke", _revoke_key, "Revoke the key {subject}?",
        "Gateways refuse it within 2 seconds, and its sign-ins to the page end. Its accepted jobs go on.",
        is_dangerous=True, needs_administrator=True,
    ),
    "quiet-worker": PageAction("workers quiet {subject}", "Quiet", _order("quiet")),
    "resume-worker": PageAction("workers resume {subject}", "Resume", _order("resume")),
    "stop-worker": PageAction(
        "workers stop {subject}", "Stop", _order("stop"), "Stop the worker {subject}?",
        "It claims nothing more, and ends when its calls have ended. Its supervisor may start it again.",
        is_dangerous=True,
    ),
}  # fmt: skip
