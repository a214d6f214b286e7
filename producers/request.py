"""From what a caller says to a job and its terms. Checks everything that can be checked before anything is put in."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from pydantic import ValidationError

from openfall.config import LoadedConfig
from openfall.config.literals import seconds_of
from openfall.producers.callbacks import callback_options
from openfall.producers.errors import BadRequest
from openfall.producers.prompt import (
    PARAMETERS,
    Prompt,
    body_of,
    check_size,
    dialect_of,
)
from openfall.router_core.catalog.entries import UnknownName
from openfall.router_core.deciding.fleet_state import FleetState
from openfall.router_core.jobs.job import CompletionJob, Dialect, Urgency
from openfall.router_core.routing.chain_selection import AUTO, RouteRequest
from openfall.router_core.routing.request_body import last_user_text
from openfall.router_core.routing.requirements import requirements_for
from openfall.router_core.routing.route import (
    FleetOf,
    NothingFits,
    Route,
    route,
)
from openfall.router_core.state.jobs import SubmitTerms

UNHEARD = FleetState()


@dataclass(frozen=True, slots=True)
class FleetView:
    """What was last seen of the fleet, and when (epoch seconds, server clock). Without it every model is taken to
    work."""

    fleet_of: FleetOf = lambda urgency: UNHEARD
    now: float = 0.0


NOTHING_SEEN = FleetView()


class SubmitOptions(TypedDict, total=False):
    """What may be said beside the prompt. Everything has a default.

    `model`, `role` or `task` names what is asked; without them the body's `model` does, which may be any of the three.
    With none of them, or `auto`, it is the group's, else found by the words of the prompt, else role `chat`, else the
    first role there is. `group` is whose job it is, by any name (`whatsapp:main`): the configuration has patterns for
    it. `local_only` keeps the job in local pools, whatever happens. `dialect` is what a whole body is written in:
    openai, anthropic or ollama.
    `within` is how long an answer is wanted, in seconds or words (`90`, `"5m"`); `deadline` is the moment itself, epoch
    seconds or an aware datetime. The last row goes into the request body as it is.

    `inbox` is the name of an inbox (`AsyncOpenfall.inbox`) and `webhook` a URL: there too it is told what came of the
    job, with `reply_to`, any JSON value of up to 4 KB. A job that joins another by its key is told where that one is.
    """

    role: str | None
    task: str | None
    model: str | None
    group: str | None
    local_only: bool
    dialect: str | None
    urgency: Urgency | str | None
    within: float | str | None
    deadline: float | datetime | None
    idempotency_key: str | None
    stream: bool
    id: str | None
    inbox: str | None
    webhook: str | None
    reply_to: Any

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    response_format: Mapping[str, Any] | None


OPTIONS = frozenset(SubmitOptions.__annotations__)

LAST_MOMENT = 4102444800.0
"""2100-01-01T00:00:00Z in epoch seconds: what lies behind it is a slip, such as milliseconds."""

_OURS = ("model", "stream")
"""Keys of a body that say where a job goes and how it is told. They stand in the job, not in its body."""


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """One request as its caller gave it."""

    prompt: Prompt
    options: SubmitOptions = field(default_factory=SubmitOptions)


def new_id() -> str:
    """A job id that nobody else has: 96 random bits."""
    return secrets.token_hex(12)


def prepare(
    loaded: LoadedConfig, producer: str, ask: PreparedJob, seen: FleetView = NOTHING_SEEN
) -> tuple[CompletionJob, SubmitTerms]:
    """The job and the terms on which it is put in, by what was seen of the fleet.

    Raises `BadRequest` (also when no model can or may take it), `PromptTooLarge`, or `UnknownName` for a role, task,
    model, urgency, dialect or option.
    """
    options = ask.options
    if strange := options.keys() - OPTIONS:
        raise UnknownName("option", min(strange), OPTIONS)  # `local_ony=True` would leave these machines in silence
    dialect = dialect_of(options.get("dialect"))
    given: Mapping[str, Any] = options
    body = body_of(ask.prompt, dialect, {name: given.get(name) for name in PARAMETERS})
    kept = {key: value for key, value in body.items() if key not in _OURS}
    check_size(kept, loaded.settings.limits.max_prompt)
    try:
        way = route(loaded.catalog, seen.fleet_of, _asked(options, body, dialect), seen.now)
    except NothingFits as error:
        raise BadRequest(str(error)) from None
    try:
        job = CompletionJob(
            id=options.get("id") or new_id(),
            producer=producer,
            body=kept,
            dialect=dialect,
            stream=bool(options.get("stream", body.get("stream", False))),
            **_routed(way),
        )
    except ValidationError as error:
        raise BadRequest(_first(error)) from None
    return job, _terms(loaded, way.queue, way.urgency, options)


def _routed(way: Route) -> dict[str, Any]:
    """What a route makes of a job. One model and no other looked at: its reason says it all."""
    told = {name: getattr(way, name) for name in ("chain", "role", "task", "group", "local_only", "urgency", "reason")}
    return {**told, "considered": way.considered if len(way.considered) > 1 else ()}


def duration(told: float | str) -> float:
    """Seconds of a number or of words such as `90s`, `5m`, `2h`; `BadRequest` for anything else, zero included."""
    seconds = seconds_of(told.strip()) if isinstance(told, str) else float(told)
    if seconds is None or not 0 < seconds < float("inf"):
        raise BadRequest(f"not a duration: {told!r}. Write seconds or words: 90, 500ms, 5m, 2h, 1d.")
    return seconds


def moment(told: float | str | datetime) -> float:
    """Epoch seconds of a moment: a number, an aware datetime, or ISO 8601 text (`2027-01-31T08:00:00+09:00`)."""
    if isinstance(told, int | float):
        return _within_reason(float(told), told)
    if isinstance(told, str):
        try:
            seconds = float(told)
        except ValueError:
            pass
        else:
            return _within_reason(seconds, told)
        try:
            told = datetime.fromisoformat(told)
        except ValueError:
            raise BadRequest(f"not a moment: {told!r}. Write epoch seconds or 2027-01-31T08:00:00+09:00.") from None
    if told.tzinfo is None:
        raise BadRequest("the deadline has no time zone: write one (2027-01-31T08:00:00+09:00), or an aware datetime")
    return told.timestamp()


def _terms(loaded: LoadedConfig, queue: str, urgency: Urgency, options: SubmitOptions) -> SubmitTerms:
    within, deadline = options.get("within"), options.get("deadline")
    if within is not None and deadline is not None:
        raise BadRequest(
            "say `within` or `deadline`, not both: each sets the moment after which nobody wants an answer"
        )
    policy = loaded.catalog.urgency[urgency]
    return SubmitTerms(
        queue=queue,
        start_within_seconds=policy.start_within,
        expires_after_seconds=policy.expires_after if within is None else duration(within),
        has_deadline=within is not None or deadline is not None,
        keep_seconds=max(1.0, loaded.settings.retention.results),
        deadline=None if deadline is None else moment(deadline),
        idempotency_key=_key(options.get("idempotency_key")),
        max_queued=policy.max_queued,
        **callback_options(options, loaded.settings),
    )


def _key(told: str | None) -> str:
    if told is not None and not 0 < len(told) <= 256:
        raise BadRequest(f"an idempotency key has 1 to 256 characters, not {len(told)}")
    return told or ""


def _asked(options: SubmitOptions, body: Mapping[str, Any], dialect: Dialect) -> RouteRequest:
    role, model = options.get("role"), options.get("model")
    if role is not None and model is not None and model != AUTO:
        raise BadRequest("say a role or a model, not both")
    target = body.get("model")
    if target is not None and not isinstance(target, str):
        raise BadRequest("`model` must be text: the name of a role, task or model, or auto")
    return RouteRequest(
        target=AUTO if model == AUTO else target,
        role=role,
        task=options.get("task"),
        model=None if model == AUTO else model,
        group=options.get("group"),
        urgency=urgency_of(options.get("urgency")),
        local_only=bool(options.get("local_only")),
        needs=requirements_for(body, dialect),
        text=last_user_text(body),
    )


def urgency_of(told: Urgency | str | None) -> Urgency | None:
    if told is None:
        return None
    try:
        return Urgency(told)
    except ValueError:
        raise UnknownName("urgency", str(told), [urgency.value for urgency in Urgency]) from None


def _within_reason(seconds: float, told: object) -> float:
    if not 0 < seconds < LAST_MOMENT:
        raise BadRequest(
            f"not a moment: {told!r}. Write epoch seconds before the year 2100, or 2027-01-31T08:00:00+09:00."
        )
    return seconds


def _first(error: ValidationError) -> str:
    told = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, told["loc"]))
    if place == "id":
        return "a job id has 8 to 64 letters, digits, `-` or `_`"
    return f"{place}: {told['msg']}"
