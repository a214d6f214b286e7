"""The grid of queues, its lines of an hour, breakers and held jobs, as pure functions of a snapshot."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.outage_text import Away, Wait
from openfall.producers.page import rendering
from openfall.producers.page.front_page import ALL_SECTIONS
from openfall.producers.page.page_actions import ACTIONS
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.rendering import render, without_ages
from openfall.producers.page.sections import breaker_section, open_fall_section, queue_section
from openfall.producers.page.sections.depth_line import depth_line
from openfall.producers.page.sections.queue_section import GridRow, Lateness
from openfall.router_core.jobs.envelope import pack_attempt
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.breakers import BreakerStatus
from openfall.router_core.state.depth_history import Depth, DepthSample
from openfall.router_core.state.held_jobs import HeldJob, HeldSummary
from openfall.router_core.vocabulary import BreakerState, ErrorClass, HoldReason, Urgency
from tests.producers.page.page_text import text_of
from tests.producers.page.snapshots import NOW, QUEUE, STATUS, calm_snapshot, held_job, holding


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> PageSnapshot:
    return calm_snapshot(tmp_path_factory.mktemp("sections"))


def grid(snapshot: PageSnapshot, *queues: Any) -> list[GridRow]:
    shown: Any = queue_section.context(replace(snapshot, status=replace(STATUS, queues=queues)))
    return shown["rows"]


@pytest.mark.parametrize(
    ("waited", "lateness"),
    [(None, Lateness.EMPTY), (1.0, Lateness.IN_TIME), (4.5, Lateness.SOON), (5.5, Lateness.LATE)],
)
def test_a_cell_is_coloured_by_the_age_of_its_oldest_job_and_not_by_their_number(
    calm: PageSnapshot, waited: float | None, lateness: Lateness
) -> None:
    (pool,) = grid(calm, replace(QUEUE, waiting=1000, oldest_seconds=waited))
    assert pool.cells[0].lateness is lateness


def test_a_pool_sums_its_models_and_names_those_with_jobs_the_latest_first(calm: PageSnapshot) -> None:
    queues = [
        replace(QUEUE, name=f"gpu.m{number}.batch", waiting=number, oldest_seconds=float(number))
        for number in range(1, 20)
    ]
    (pool,) = grid(calm, *queues, replace(QUEUE, name="gpu.idle.batch"))
    assert pool.cells[2].waiting == sum(range(1, 20))
    assert [model.name for model in pool.models][:2] == ["m19", "m18"]
    assert (len(pool.models), pool.others) == (12, 7)


def test_a_paused_queue_without_jobs_can_be_resumed_from_the_grid(calm: PageSnapshot) -> None:
    (pool,) = grid(calm, replace(QUEUE, paused=True))
    assert [(model.pattern, model.paused) for model in pool.models] == [("gpu.tiny.*", ("gpu.tiny.interactive",))]


def test_the_grid_names_what_its_button_resumes_and_who_paused_it(calm: PageSnapshot) -> None:
    pause = AuditEntry(actor="mika", via="cli", action="queue.pause", subject="gpu.*", why="dust", at=NOW - 90_000)
    names = ("gpu.tiny.interactive", "gpu.tiny.background")
    first, second = (replace(QUEUE, name=name, paused=True) for name in names)
    html = []
    for queues in ((first, replace(second, paused=False)), (first, second)):
        snapshot = replace(calm, status=replace(STATUS, queues=queues), audit=(pause,))
        html.append(render("sections/queues.html", now=NOW, actions=ACTIONS, **queue_section.context(snapshot)))
    assert ">Resume gpu.tiny.interactive</button>" in html[0]
    assert ">Resume gpu.*</button>" in html[1]
    assert f"gpu.tiny.interactive (mika, {moment(NOW - 90_000)}: &#39;dust&#39;)" in html[0]


def moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M}"


def test_a_cell_says_how_many_of_its_queues_are_paused(calm: PageSnapshot) -> None:
    queues = (replace(QUEUE, paused=True), replace(QUEUE, name="gpu.other.interactive"))
    snapshot = replace(calm, status=replace(STATUS, queues=queues))
    html = render("sections/queues.html", now=NOW, actions=ACTIONS, **queue_section.context(snapshot))
    assert ">1 queue paused<" in html


@pytest.mark.parametrize(("age", "words"), [(0.0, False), (9.0, False), (38.0, True)])
def test_the_grid_says_how_old_its_reading_is(calm: PageSnapshot, age: float, words: bool) -> None:
    snapshot = replace(calm, status=replace(STATUS, queues_age_seconds=age))
    html = render("sections/queues.html", now=NOW, actions=ACTIONS, **queue_section.context(snapshot))
    assert (", read <" in html) is words


def test_a_queue_of_plain_rq_stands_beside_the_grid(calm: PageSnapshot) -> None:
    shown: Any = queue_section.context(
        replace(calm, status=replace(STATUS, queues=(replace(QUEUE, name="emails", waiting=2),)))
    )
    assert [queue.name for queue in shown["others"]] == ["emails"]


def test_the_line_of_an_hour_has_depth_and_age_against_the_target() -> None:
    depths = [Depth(0, 0.0), Depth(4, 2.0), Depth(2, 10.0)]
    samples = [
        DepthSample(NOW + 60 * number, 0, {("gpu", "interactive"): depth}) for number, depth in enumerate(depths)
    ]
    line = depth_line(samples, "gpu", Urgency.INTERACTIVE, 5.0)
    assert line is not None
    assert line.depth == "116.0,20.0 118.0,0.0 120.0,10.0"
    assert line.age == "116.0,20.0 118.0,16.0 120.0,0.0"
    assert line.was_late
    assert line.summary == "last hour: up to 4 jobs waited, the oldest for 10s"
    assert depth_line(samples, "gpu", Urgency.BATCH, 5.0) is None
    assert depth_line([], "gpu", Urgency.BATCH, 5.0) is None


TEMPLATES = Path(rendering.__file__).parent / "templates"


def breaker(target: str, **more: Any) -> BreakerStatus:
    values = {
        "state": BreakerState.CLOSED, "epoch": 1, "since": 0.0, "why": "", "open_count": 0, "consecutive_failures": 0,
        "until": None, "forced": None, "forced_until": None, "cooling_until": None, "slow_starting": False, **more,
    }  # fmt: skip
    return BreakerStatus(target=target, **values)


def test_a_breaker_that_is_simply_closed_is_no_card(calm: PageSnapshot) -> None:
    shown: Any = breaker_section.context(replace(calm, breakers=(breaker("rack/tiny"),)))
    assert (shown["cards"], shown["closed"]) == ([], [("rack/tiny", "tiny@rack")])


def test_open_breakers_come_first_and_a_cooldown_of_one_key_has_no_override(calm: PageSnapshot) -> None:
    rows = (breaker("rack/tiny#k1", cooling_until=NOW + 5), breaker("rack/tiny", state=BreakerState.OPEN))
    shown: Any = breaker_section.context(replace(calm, breakers=rows))
    assert [(card.state, card.can_be_forced) for card in shown["cards"]] == [("open", True), ("closed", False)]
    assert shown["closed"] == []


def open_fall(snapshot: PageSnapshot, job: HeldJob, **more: Any) -> Any:
    fall = {"by": "canned_reply"}
    total = HeldSummary(1, 1, {job.reason: 1})
    return open_fall_section.context(replace(snapshot, held_jobs=(job,), fallen={"j": fall}, held=total, **more))


AWAY = {
    "away": (
        Away(model="tiny", backends=("rack",), since=NOW, cause="timeout", until=NOW, wait=Wait.PROBE, flat_plan=False),
    )
}
PAUSED = {"status": replace(STATUS, queues=(replace(QUEUE, paused=True),))}


@pytest.mark.parametrize(
    ("job", "change", "release"),
    [
        (held_job(HoldReason.OUTAGE, "tiny"), {}, "Returns by itself when tiny has a free slot"),
        (held_job(HoldReason.OUTAGE, "tiny"), AWAY, "Returns by itself when tiny accepts calls again"),
        (held_job(HoldReason.PAUSED, "tiny"), PAUSED, "Returns by itself when gpu.tiny.interactive is resumed"),
        (held_job(HoldReason.PAUSED, "tiny"), {}, "Returns by itself when tiny has a free slot"),
        (held_job(HoldReason.LOCAL_ONLY, "tiny"), {}, "Returns by itself when tiny has a free slot"),
        (held_job(HoldReason.BUDGET, "tiny"), {}, "Returns by itself when its budget is raised enough or resets"),
        (
            held_job(HoldReason.OUTAGE, "gone"),
            {},
            "An operator decides: replay it when gone is in the configuration again",
        ),
        (held_job(HoldReason.POISONED), {}, "An operator decides: read the end of the log of its last worker, then"),
        (
            held_job(HoldReason.POISONED, crash_log="/log/w.log"),
            {},
            "An operator decides: read the end of the log of its last worker (/log/w.log), then replay it once",
        ),
        (held_job(HoldReason.OWN_FAULT), {}, "An operator decides: correct the request or the checks of its role"),
        (held_job(HoldReason.UNREADABLE), {}, "An operator decides: upgrade every worker, then replay it"),
    ],
    ids=lambda value: str(value.reason) if isinstance(value, HeldJob) else "",
)
def test_a_held_job_says_what_was_tried_what_its_caller_got_and_what_releases_it(
    calm: PageSnapshot, job: HeldJob, change: dict[str, Any], release: str
) -> None:
    (group,) = open_fall(calm, job, **change)["groups"]
    row = group.first
    assert row.shown == "a canned reply"
    assert row.release.startswith(release)
    assert row.release_at is None


@pytest.mark.parametrize(
    ("reason", "calls", "text"),
    [
        (HoldReason.OUTAGE, (ErrorClass.TIMEOUT, None), "tiny timeout → tiny answered"),
        (HoldReason.OUTAGE, (), "no call ended"),
        (HoldReason.POISONED, (), "no call ended"),
    ],
)
def test_a_held_job_names_its_calls_although_the_log_of_falls_has_lost_its_record(
    calm: PageSnapshot, reason: HoldReason, calls: tuple[ErrorClass | None, ...], text: str
) -> None:
    attempts = [Attempt(model="tiny", backend="rack", error=error, started_at=0, ended_at=1) for error in calls]
    job = held_job(reason, "tiny", packed_calls=b"\n".join(map(pack_attempt, attempts)))
    (group,) = open_fall_section.context(holding(calm, job))["groups"]
    assert (group.first.tried, group.first.shown) == (text, "not known any more")


def test_calls_that_cannot_be_read_are_not_known(calm: PageSnapshot) -> None:
    (group,) = open_fall(calm, held_job(HoldReason.OUTAGE, packed_calls=b"garbage"))["groups"]
    assert group.first.tried == "not known: its calls cannot be read"


def test_jobs_of_one_row_have_the_same_calls_and_name_their_cause_once(calm: PageSnapshot) -> None:
    """A job that fell before its first call does not speak for one that was called."""
    call = pack_attempt(Attempt(model="tiny", backend="rack", error=ErrorClass.TIMEOUT, started_at=0, ended_at=1))
    first, second = held_job(HoldReason.OUTAGE, "tiny", id="a", why="x"), held_job(HoldReason.OUTAGE, "tiny", id="b")
    called = [replace(first, id=name, packed_calls=call) for name in ("c", "d")]
    shown = open_fall_section.context(holding(calm, first, second, *called))
    assert [(group.count, group.first.tried, group.is_of_one_cause) for group in shown["groups"]] == [
        (2, "no call ended", False), (2, "tiny timeout", True),
    ]  # fmt: skip
    assert render("sections/open-fall.html", now=NOW, actions=ACTIONS, **shown).count("the first: ") == 1


def test_a_held_job_says_when_it_returns_at_the_earliest(calm: PageSnapshot) -> None:
    (group,) = open_fall(calm, held_job(HoldReason.BUDGET, "tiny", ready_at=NOW + 60))["groups"]
    row = group.first
    assert (row.release_text, row.release_at) == ("in", NOW + 60)
    (group,) = open_fall(calm, held_job(HoldReason.OUTAGE, "tiny", ready_at=NOW + 60))["groups"]
    assert (group.first.release_text, group.first.release_at) == ("in at least", NOW + 60)


@pytest.mark.parametrize(
    ("job", "change", "why"),
    [
        (held_job(HoldReason.OUTAGE, "tiny"), {}, ""),
        (held_job(HoldReason.POISONED), {}, ""),
        (
            held_job(HoldReason.PAUSED, "tiny"),
            PAUSED,
            "None can run: they return when gpu.tiny.interactive is resumed.",
        ),
        (
            held_job(HoldReason.BUDGET, "tiny", ready_at=NOW + 9),
            {},
            "None can run: they return when its budget is raised enough or resets.",
        ),
        (
            held_job(HoldReason.OUTAGE, "tiny"),
            {"status": replace(STATUS, workers=())},
            "None can run: they return when a worker of the pool gpu runs.",
        ),
    ],
    ids=["can run", "an operator decides", "paused", "budget", "no worker"],
)
def test_replay_is_offered_for_all_only_when_one_can_run(
    calm: PageSnapshot, job: HeldJob, change: dict[str, Any], why: str
) -> None:
    shown = open_fall(calm, job, **change)
    assert shown["why_not_ready"] == why
    html = render("sections/open-fall.html", now=NOW, actions=ACTIONS, **shown)
    assert ("disabled>Replay all" in html) == bool(why)
    assert ("Replay all" in html) == (job.reason is not HoldReason.POISONED)


def test_held_jobs_that_differ_only_in_id_and_time_are_one_row_that_opens(calm: PageSnapshot) -> None:
    alike = [held_job(HoldReason.OUTAGE, "tiny", id=f"job-{number}", held_at=NOW - number) for number in range(10)]
    other = held_job(HoldReason.OUTAGE, "tiny", id="other", role="coder")
    poisoned = [held_job(HoldReason.POISONED, id=f"poison-{number}") for number in range(2)]
    shown: Any = open_fall_section.context(holding(calm, *alike, other, *poisoned))
    assert [(group.count, group.first.job.id) for group in shown["groups"]] == [
        (10, "job-0"), (1, "other"), (1, "poison-0"), (1, "poison-1"),
    ]  # fmt: skip
    html = render("sections/open-fall.html", now=NOW, actions=ACTIONS, **shown)
    assert "<b>10 ×</b> chat/interactive" in html
    assert html.count("<tr>") == 5
    assert html.count('formaction="/page/act/replay" ') == 11, "each can still be replayed"
    assert html.count('href="/page/ask/replay-poisoned?') == 2, "what killed workers asks first"


@pytest.mark.parametrize(
    ("job", "change", "can_replay"),
    [
        (held_job(HoldReason.OUTAGE, "tiny"), {}, True),
        (held_job(HoldReason.POISONED), {}, True),
        (held_job(HoldReason.PAUSED, "tiny"), PAUSED, False),
        (held_job(HoldReason.OUTAGE, "tiny"), {"status": replace(STATUS, workers=())}, False),
        (held_job(HoldReason.BUDGET, "tiny", ready_at=NOW + 9), {}, False),
    ],
)
def test_a_row_is_replayed_only_when_a_model_could_be_called(
    calm: PageSnapshot, job: HeldJob, change: dict[str, Any], can_replay: bool
) -> None:
    html = render("sections/open-fall.html", now=NOW, actions=ACTIONS, **open_fall(calm, job, **change))
    assert ('formaction="/page/act/replay" ' in html or 'href="/page/ask/replay-poisoned?' in html) == can_replay
    assert ("It cannot run now." in html) != can_replay


@pytest.mark.parametrize("template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.name))
def test_words_of_two_elements_on_a_line_have_a_space_between_them(template: Path) -> None:
    inline = "span|b|small|code|a|time|button"
    ends, begins = rf"(?:</(?:{inline})>|\)\s*\}}\}})", rf"(?:<(?:{inline})\b|\{{\{{ press\()"
    assert not re.findall(rf"{ends}(?:\{{% (?!el)[^%]*%\}})*{begins}", template.read_text())


def test_every_section_is_shown_although_none_of_its_sources_could_be_read(calm: PageSnapshot) -> None:
    for section in ALL_SECTIONS:
        assert rendering.render_section(section, replace(calm, sources={}), ACTIONS, "")


def test_words_of_two_elements_on_two_lines_have_a_space_between_them(calm: PageSnapshot) -> None:
    late = replace(QUEUE, waiting=3, started=2, oldest_seconds=90.0)
    shown = queue_section.context(replace(calm, status=replace(STATUS, queues=(late,))))
    lines = text_of(render("sections/queues.html", now=NOW, actions=ACTIONS, **shown))
    assert re.search(r"90s late .*▶ 2 running", lines)


def test_a_section_in_which_only_ages_differ_shows_the_same() -> None:
    before = '<b>3</b> <time datetime="x" data-since="1" title="y">4s</time>'
    assert without_ages(before) == without_ages(before.replace("4s", "5s"))
    assert without_ages(before) != without_ages(before.replace("<b>3", "<b>4"))
    assert without_ages(before) != without_ages(before.replace('since="1"', 'since="2"'))
