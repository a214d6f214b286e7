"""Turns a caller's request into a job and its terms. Checks all that can be checked before anything is submitted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Literal, TypedDict, cast

from pydantic import ValidationError

from openfall.config import LoadedConfig, durations_and_sizes
from openfall.producers.arguments import DURATION, FLAG, NAME, SUBMIT_OPTIONS, check, check_options, describe
from openfall.producers.callbacks import callback_options
from openfall.producers.errors import BadRequest
from openfall.producers.limit_terms import add_limit_terms
from openfall.producers.prompt import PARAMETERS, Prompt, build_body, check_size, parse_dialect
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.request_body import user_texts
from openfall.router_core.jobs.wire_headers import MAX_HEADER_CHARACTERS, WIRE_HEADERS, is_sendable, pick_wire_headers
from openfall.router_core.routing.chain_selection import AUTO, RouteRequest
from openfall.router_core.routing.classify_by_words import MAX_MESSAGES
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.routing.requirements import Requirements, requirements_for
from openfall.router_core.routing.route import FleetOf, NothingFits, Route, route
from openfall.router_core.state.jobs import SubmitTerms
from openfall.router_core.vocabulary import Dialect, JobKind, Urgency, UrgencyName

MAX_DEADLINE = 4102444800.0
"""2100-01-01T00:00:00Z in epoch seconds. A later deadline is a mistake, such as milliseconds."""

MAX_DURATION = 4102444800.0
"""A longer duration is a mistake too."""

_JOB_KEYS = ("model", "stream")
"""Keys of a body that the job holds, not its body: its target, and whether it streams."""

PreparedJob = tuple[CompletionJob, SubmitTerms]


@dataclass(frozen=True, slots=True)
class FleetView:
    """The fleet's state for each urgency, as of `now` (epoch seconds, server clock). Unknown: every model counts as
    available."""

    fleet: FleetOf = lambda urgency: FleetState()
    now: float = 0.0


UNKNOWN_FLEET = FleetView()


class SubmitOptions(TypedDict, total=False):
    """The options of a job. Everything has a default.

    `model`, `role` or `task` names the target; without them the body's `model` does, which may be any of the three.
    With none, or `auto`, the target is the group's, else the task that the words of the prompt select, else the
    default of the configuration. `kind` is `completion`, or `embedding`: then the prompt is a text, a list of texts or
    a body with `input`, and one model serves the job. `group` says whose job it is, by any name (`whatsapp:main`): the
    configuration has patterns for groups. `local_only` keeps the job in local pools, whatever happens. `dialect` is the
    format of a whole body: openai, anthropic or ollama. `wire_headers` are headers that its provider needs beside the
    body, such as `anthropic-beta`; a backend of another dialect does not get them.

    `expires_in` is how long an answer is wanted, in seconds or text (`90`, `"5m"`); `deadline` is the moment itself,
    epoch seconds or an aware datetime. `inbox` names an inbox (`AsyncOpenfall.inbox`) and `webhook` a URL that also
    receive the result, with `reply_to`, any JSON value of up to 4 KB. A job that joins another by its idempotency key
    uses that job's inbox and webhook.

    The options of the last block go into the request body.
    """

    kind: JobKind | Literal["completion", "embedding"]
    role: str | None
    task: str | None
    model: str | None
    group: str | None
    local_only: bool
    dialect: Dialect | None
    urgency: Urgency | UrgencyName | None
    wire_headers: Mapping[str, str] | None
    expires_in: float | str | None
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


class AskOptions(SubmitOptions, total=False):
    """The options of `ask`."""

    timeout: float | str | None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One request as its caller wrote it. `max_bytes`: its limit in place of `limits: max_prompt`."""

    prompt: Prompt
    options: SubmitOptions = field(default_factory=SubmitOptions)
    max_bytes: int | None = None


def new_job_id() -> str:
    """A unique job id: 96 random bits."""
    return secrets.token_hex(12)


def prepare(
    config: LoadedConfig,
    producer: str,
    request: JobRequest,
    fleet: FleetView = UNKNOWN_FLEET,
    default_urgency: Urgency = Urgency.BACKGROUND,
) -> PreparedJob:
    """The job and its terms, routed by the state of the fleet. `default_urgency`: see `RouteRequest`.

    Raises `BadRequest` (also when no model can or may take the job), `PromptTooLarge`, and `UnknownName`.
    """
    options = request.options
    check_options(options, SUBMIT_OPTIONS)
    dialect, values = parse_dialect(options.get("dialect")), cast("Mapping[str, Any]", options)
    kind, parameters = _parse_kind(options.get("kind"), dialect), {name: values.get(name) for name in PARAMETERS}
    body = build_body(request.prompt, dialect, parameters, kind)
    job_body = {key: value for key, value in body.items() if key not in _JOB_KEYS}
    size = check_size(job_body, request.max_bytes or config.settings.limits.max_prompt)
    needs = requirements_for(body, dialect, kind)
    wanted = _route_request(options, body, needs, default_urgency=default_urgency, producer=producer)
    try:
        routed = route(config.catalog, fleet.fleet, wanted, fleet.now)
    except NothingFits as error:
        raise BadRequest(str(error), is_local_only=error.is_local_only) from None
    try:
        job = CompletionJob(
            id=options.get("id") or new_job_id(),
            producer=producer,
            body=job_body,
            kind=kind,
            dialect=dialect,
            wire_headers=_wire_headers(options.get("wire_headers"), dialect),
            stream=bool(options.get("stream", body.get("stream", False))),
            **_route_fields(routed),
        )
    except ValidationError as error:
        raise BadRequest(_first_error(error)) from None
    terms = _terms(config, routed, options, size)
    return job, add_limit_terms(terms, job, config.catalog, needs.tokens)


def _wire_headers(headers: Mapping[str, str] | None, dialect: Dialect) -> dict[str, str]:
    """Raises `UnknownName` for a header that no provider gets, and `BadRequest` for a value that cannot be sent."""
    headers = {name.lower(): value for name, value in (headers or {}).items()}
    known = {name for names in WIRE_HEADERS.values() for name in names}
    if unknown := headers.keys() - known:
        raise UnknownName("wire header", min(unknown), known)
    for name, value in headers.items():
        if not is_sendable(value):
            raise BadRequest(f"the wire header {name} has 1 to {MAX_HEADER_CHARACTERS} printable ASCII characters")
    return pick_wire_headers(headers, dialect)


def _route_fields(routed: Route) -> dict[str, Any]:
    """The job's fields that its route sets. If only one model was considered, `reason` says all."""
    names = ("chain", "role", "task", "group", "local_only", "urgency", "reason")
    fields = {name: getattr(routed, name) for name in names}
    if routed.configured_chain != routed.chain:
        fields["configured_chain"] = routed.configured_chain
    return {**fields, "considered": routed.considered if len(routed.considered) > 1 else ()}


def parse_duration(value: float | str, name: str = "duration") -> float:
    """Seconds, more than 0, of a number or of text such as `90s`, `5m`. Raises `BadRequest`, which has the name."""
    check(name, value, DURATION)
    seconds = durations_and_sizes.parse_duration(value.strip()) if isinstance(value, str) else value
    wrong = repr(value) if isinstance(value, str) else describe(value)
    if seconds is not None and seconds <= 0:
        raise BadRequest(f"`{name}` must be more than 0, not {wrong}")
    if seconds is None or not seconds < MAX_DURATION:
        raise BadRequest(f"`{name}` is not a duration: {wrong}. Write seconds or text: 90, 500ms, 5m, 2h, 1d.")
    return float(seconds)


def parse_timestamp(value: float | str | datetime, name: str = "deadline") -> float:
    """Epoch seconds of a number, an aware datetime, or ISO 8601 text (`2027-01-31T08:00:00+09:00`). Raises `BadRequest`
    for anything else, with the name of the argument."""
    moment = _parse_moment(value, name) if isinstance(value, str) else value
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise BadRequest(f"`{name}` has no time zone: write one (2027-01-31T08:00:00+09:00)")
        return moment.timestamp()
    if not 0 < moment < MAX_DEADLINE:
        raise BadRequest(
            f"`{name}` is not a moment: {describe(value)}. Write epoch seconds before the year 2100, "
            "or 2027-01-31T08:00:00+09:00."
        )
    return float(moment)


def _parse_moment(text: str, name: str) -> float | datetime:
    with suppress(ValueError):
        return float(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        remedy = "Write epoch seconds or 2027-01-31T08:00:00+09:00."
        raise BadRequest(f"`{name}` is not a moment: {text!r}. {remedy}") from None


def parse_urgency(value: Urgency | str | None) -> Urgency | None:
    """Raises `UnknownName`."""
    if value is None:
        return None
    try:
        return Urgency(value)
    except ValueError:
        raise UnknownName("urgency", str(value), [urgency.value for urgency in Urgency]) from None


def _terms(config: LoadedConfig, routed: Route, options: SubmitOptions, body_bytes: int) -> SubmitTerms:
    expires_in, deadline = options.get("expires_in"), options.get("deadline")
    if expires_in is not None and deadline is not None:
        raise BadRequest("give `expires_in` or `deadline`, not both: each sets the moment at which the job expires")
    policy = config.catalog.urgency[routed.urgency]
    return SubmitTerms(
        queue=routed.queue,
        body_bytes=body_bytes,
        unmet=routed.unmet,
        start_within_seconds=policy.start_within,
        expires_after_seconds=policy.expires_after if expires_in is None else parse_duration(expires_in, "expires_in"),
        has_deadline=expires_in is not None or deadline is not None,
        keep_seconds=max(1.0, config.settings.retention.results),
        deadline=None if deadline is None else parse_timestamp(deadline, "deadline"),
        idempotency_key=_idempotency_key(options.get("idempotency_key")),
        max_queued=policy.max_queued,
        **callback_options(options, config.settings),
    )


def _idempotency_key(key: str | None) -> str:
    if key is not None and not 0 < len(key) <= 256:
        raise BadRequest(f"an idempotency key has 1 to 256 characters, not {len(key)}")
    return key or ""


def _parse_kind(name: JobKind | str | None, dialect: Dialect) -> JobKind:
    """Raises `UnknownName`, and `BadRequest` for embeddings in another dialect than OpenAI's."""
    try:
        kind = JobKind(name or JobKind.COMPLETION)
    except ValueError:
        raise UnknownName("kind", str(name), [kind.value for kind in JobKind]) from None
    if kind is JobKind.EMBEDDING and dialect != "openai":
        raise BadRequest(f"a request for embeddings is in the openai dialect, not {dialect}")
    return kind


def _route_request(
    options: SubmitOptions, body: Mapping[str, Any], needs: Requirements, *, default_urgency: Urgency, producer: str
) -> RouteRequest:
    role, model, target = options.get("role"), options.get("model"), body.get("model")
    if role is not None and model is not None and model != AUTO:
        raise BadRequest("give a role or a model, not both")
    if target is not None and not isinstance(target, str):
        raise BadRequest("`model` must be text: the name of a role, task or model, or auto")
    check("model", target, NAME)
    check("stream", body.get("stream"), FLAG)
    named = role or options.get("task") or (model and model != AUTO)
    return RouteRequest(
        target=AUTO if model == AUTO else target,
        role=role,
        task=options.get("task"),
        model=None if model == AUTO else model,
        group=options.get("group"),
        urgency=parse_urgency(options.get("urgency")),
        local_only=bool(options.get("local_only")),
        needs=needs,
        texts=() if named or needs.kind is JobKind.EMBEDDING else tuple(islice(user_texts(body), MAX_MESSAGES)),
        default_urgency=default_urgency,
        producer=producer,
    )


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    field_name = ".".join(map(str, first["loc"]))
    if field_name == "id":
        return "a job id has 8 to 64 letters, digits, `-` or `_`"
    return f"{field_name}: {first['msg']}"
