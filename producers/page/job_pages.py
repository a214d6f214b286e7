"""The pages of jobs: all jobs with filters that stand in the address, and the story of one job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.datastructures import QueryParams
from starlette.responses import Response

from openfall.producers.amount_text import format_usd
from openfall.producers.crash_text import describe_crashes
from openfall.producers.errors import BadRequest
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import TEXT, Endpoint
from openfall.producers.job_filter import KNOWN_STATES, read_filter
from openfall.producers.job_story import fetch_story, moments, next_step, reasons
from openfall.producers.operations.job_selection import JobSelection, JobVerb, act_on_jobs, find_jobs
from openfall.producers.operations.operator import Operator
from openfall.producers.page.page_access import Visitor, check_form, check_right
from openfall.producers.page.page_handler import back_with_notice, for_people, html_page, read_fields, redirect
from openfall.producers.page.sections.job_section import job_rows
from openfall.producers.refused_keys import explain_refused_keys
from openfall.producers.shell_command import shell_command, shell_word
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.job_search import find_job
from openfall.router_core.state.recent_jobs import JobFilter, JobPage, fetch_jobs, list_jobs
from openfall.router_core.vocabulary import Urgency

ROWS = 50
MAX_SELECTED = 200
MIN_ID_LETTERS = 4
_TEXTS = ("role", "model", "urgency", "group", "producer", "since")


@dataclass(frozen=True, slots=True)
class Choice:
    """A filter of the form. `options` are its values; empty: any text, with `hint`."""

    name: str
    label: str
    options: Sequence[str] = ()
    hint: str = ""


def choices(catalog: Catalog) -> list[Choice]:
    return [
        Choice("state", "State", KNOWN_STATES),
        Choice("role", "Role or task", [*catalog.roles, *catalog.tasks]),
        Choice("model", "Model", [*catalog.models]),
        Choice("urgency", "Urgency", [each.value for each in Urgency]),
        Choice("group", "Group", [group.name for group in catalog.groups]),
        Choice("producer", "Producer", hint="bot:*"),
        Choice("since", "Accepted within", ("10m", "1h", "6h", "1d", "7d")),
        Choice("id", "Text of the id", hint="8f21"),
    ]


async def _show_jobs(exchange: Exchange, visitor: Visitor) -> Response:
    """List jobs, the newest first."""
    llm, query = exchange.client, exchange.request.query_params
    now = await llm.store.server_time()
    page, problem = JobPage((), None), ""
    try:
        wanted = _filter(query, now)
        page = await list_jobs(llm.store.connection, wanted, ROWS, before=query.get("before") or None)
    except (UnknownName, BadRequest, ValueError) as error:
        problem = str(error)
    filters = {name: value for name, value in query.items() if value and name != "before"}
    return html_page(
        exchange,
        visitor,
        "jobs.html",
        status=400 if problem else 200,
        now=now,
        rows=job_rows(page.jobs),
        problem=problem,
        choices=choices(llm.config.catalog),
        chosen=filters,
        matching=urlencode(filters),
        is_first=not query.get("before"),
        first=f"/job?{urlencode(filters)}",
        older=f"/job?{urlencode({**filters, 'before': page.next_cursor})}" if page.next_cursor else "",
    )


def _filter(query: QueryParams, now: float) -> JobFilter:
    texts = {name: query[name].strip() for name in _TEXTS if query.get(name, "").strip()}
    states = filter(None, query.getlist("state"))
    return read_filter(now, states, id_text=query.get("id", "").strip() or None, **texts)


async def _show_job(exchange: Exchange, visitor: Visitor) -> Response:
    """Tell the life of a job. The first letters of its id are enough."""
    llm, typed = exchange.client, exchange.request.path_params["id"]
    if len(typed) < MIN_ID_LETTERS:
        raise Refusal("bad_request", f"{typed!r} is too short: at least {MIN_ID_LETTERS} letters of the id are needed")
    job_id = await find_job(llm.store.connection, typed)
    if job_id != typed:
        return redirect(exchange, f"/job/{quote(job_id, safe='')}")
    record, events, waits_for = await fetch_story(llm, job_id)
    why, considered = reasons(record)
    listed = await fetch_jobs(llm.store.connection, [job_id])
    is_answered = record.result is not None and record.result.answered
    return html_page(
        exchange,
        visitor,
        "job.html",
        now=await llm.store.server_time(),
        record=record,
        crashes=describe_crashes(record.crashes),
        command=shell_command("openfall job why", record.id[:8]),
        row=job_rows(listed)[0] if listed else None,
        why=why,
        considered=considered,
        moments=moments(record, events),
        next_step=next_step(record) if record.result is None else "",
        waits_for=waits_for,
        refused_keys=[] if is_answered else await explain_refused_keys(llm, job_id),
        cost=format_usd(record.result.cost_usd) if record.result else "–",
        prompt=_prompt(record) if exchange.config.settings.privacy.keep_prompts else None,
    )


def _prompt(record: JobRecord) -> str | None:
    """The messages of a job, if the configuration keeps prompts."""
    if record.job is None:
        return None
    messages = record.job.body.get("messages") or []
    texts = [f"{each.get('role', '?')}: {each.get('content', '')}" for each in messages if isinstance(each, Mapping)]
    return "\n\n".join(texts) or str(record.job.body.get("prompt", ""))


async def _ask_about_jobs(exchange: Exchange, visitor: Visitor) -> Response:
    """Ask before something is done to the selected jobs."""
    check_right(exchange, visitor)
    query = exchange.request.query_params
    verb, matching = _verb(query.get("verb", "")), query.get("matching", "")
    llm = exchange.client
    if matching:
        operator = Operator(llm, visitor.name, "page")
        matches = await find_jobs(operator, verb, await _matching(exchange, QueryParams(matching)))
        ids, number = matches[:ROWS], len(matches)
    else:
        ids = list(dict.fromkeys(query.getlist("id")))[:MAX_SELECTED]
        number = len(ids)
    if not ids:
        raise Refusal("bad_request", "no job is selected" + (" that this could change" if matching else ""))
    jobs = await fetch_jobs(llm.store.connection, ids)
    return html_page(
        exchange, visitor, "selected_jobs.html",
        verb=verb.value, rows=job_rows(jobs), number=number, matching=matching, now=await llm.store.server_time(),
        command=_command(verb, QueryParams(matching), ids),
    )  # fmt: skip


def _command(verb: JobVerb, filters: QueryParams, ids: Sequence[str]) -> str:
    """The command that does the same to the jobs of filters, or of ids."""
    options = [f"--{name}={shell_word(value)}" for name, value in filters.multi_items() if value]
    command = f"openfall job {verb.value}"
    return " ".join([command, *options]) if options else shell_command(command, *ids)


async def _matching(exchange: Exchange, query: QueryParams) -> JobSelection:
    """The jobs that the filters of an address select. Raises `UnknownName`, `BadRequest`."""
    wanted = _filter(query, await exchange.client.store.server_time())
    return JobSelection(matching=wanted, typed={name: value for name, value in query.multi_items() if value})


async def _act_on_jobs(exchange: Exchange, visitor: Visitor) -> Response:
    """Cancel, replay or drop the selected jobs."""
    fields = await read_fields(exchange, MAX_SELECTED + 10)
    form = dict(fields)
    check_form(exchange, visitor, form)
    check_right(exchange, visitor)
    ids = list(dict.fromkeys(value for name, value in fields if name == "id" and value))[:MAX_SELECTED]
    operator = Operator(exchange.client, visitor.name, "page")
    verb, selection = _verb(form.get("verb", "")), JobSelection(ids=ids)
    if not ids and form.get("matching"):
        selection = await _matching(exchange, QueryParams(form["matching"]))
    done = await act_on_jobs(operator, verb, await find_jobs(operator, verb, selection), selection)
    if (live := exchange.gateway.live_page) is not None:
        await live.refresh()
    return back_with_notice(exchange, "/job", f"{sum(done.values()):,} of {len(done):,} {verb.effect}")


def _verb(text: str) -> JobVerb:
    if text not in set(JobVerb):
        raise Refusal("bad_request", f"jobs are cancelled, replayed or dropped, not {text[:40]!r}", "verb")
    return JobVerb(text)


_HTML = "text/html"
_FILTERS = dict.fromkeys((*_TEXTS, "state", "id", "before"), TEXT)
_SELECTED = {"id": TEXT, "verb": TEXT, "matching": TEXT}
ENDPOINTS = (
    Endpoint("GET", "/job", for_people(_show_jobs), "The page of jobs.", public=True, query=_FILTERS, media_type=_HTML),
    Endpoint(
        "GET", "/page/jobs", for_people(_ask_about_jobs), "The question before an action on jobs.",
        public=True, query=_SELECTED, media_type=_HTML,
    ),
    Endpoint(
        "POST", "/page/jobs", for_people(_act_on_jobs), "Cancel, replay or drop jobs.", public=True, media_type=_HTML
    ),
    Endpoint("GET", "/job/{id}", for_people(_show_job), "The page of one job.", public=True, media_type=_HTML),
)  # fmt: skip
