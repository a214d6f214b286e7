"""`openfall job why`, and the receipt of an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openfall.config import LoadedConfig
from openfall.producers.cli.render import receipt
from openfall.producers.job_story import WORKER_DIED, moments
from openfall.router_core.jobs.job import ConsideredModel
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.routing.fleet_state import ModelState
from openfall.router_core.routing.rank import RankedModel
from openfall.router_core.state import scripts
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import ErrorClass, ServedBy
from tests.producers.cli.conftest import Run
from tests.producers.hold_jobs import submit_held


def attempt(model: str, error: ErrorClass | None = None, **more: Any) -> Attempt:
    return Attempt(model=model, backend="tower", started_at=100.0, ended_at=102.5, error=error, **more)


def test_a_receipt_has_the_model_the_time_the_tokens_the_price_and_the_reason() -> None:
    answer = attempt("coder", input_tokens=41, output_tokens=38, cost_nusd=420000)
    considered = (ConsideredModel(model="coder", reason="1st in role worker, loaded"),)
    result = Result(id="8f21aaaa", status=Status.ANSWERED, attempts=(answer,), took=2.9, considered=considered)
    assert (
        receipt(result)
        == "[8f21aaaa generated using coder@tower in 2.9s, 41+38 tok, $0.00042 · 1st in role worker, loaded]"
    )


def test_a_receipt_says_that_the_answer_was_cut_off() -> None:
    fields: dict[str, Any] = {"id": "8f21aaaa", "status": Status.ANSWERED, "took": 2.9}
    cut = Result(**fields, attempts=(attempt("coder", output_tokens=96),), finish_reason="length")
    assert receipt(cut).startswith("[8f21aaaa generated using coder@tower in 2.9s, ?+96 tok, cut off at its limit of")
    assert "cut off" not in receipt(Result(**fields, attempts=cut.attempts, finish_reason="stop"))


def test_a_receipt_has_the_fallback_and_an_unknown_price() -> None:
    attempts = (attempt("coder", ErrorClass.TIMEOUT), attempt("haiku", output_tokens=5, cost_nusd=10000000))
    result = Result(id="8f21aaaa", status=Status.ANSWERED, attempts=attempts, took=9.0)
    assert receipt(result) == (
        "[8f21aaaa used haiku@tower instead of coder in 9.0s, ?+5 tok, $?, 2 models tried"
        " · coder failed: timeout; the next in its chain answered]"
    )


def test_a_receipt_has_no_estimate_of_a_start_that_is_over() -> None:
    model = RankedModel(
        number=1, alias="coder", member=None, state=ModelState(waiting=2),  # type: ignore[arg-type]
        start=11.0, quality=0.9, tier=1, until=0.0, after_local=False, scarce=False, load_wait=8.0,
    )  # fmt: skip
    considered = (ConsideredModel(model="coder", reason=f"1st in role worker; {model.trouble}; seed is left out"),)
    answer = attempt("coder", cost_nusd=0)
    shown = receipt(Result(id="8f21aaaa", status=Status.ANSWERED, attempts=(answer,), took=13.2, considered=considered))
    assert shown == "[8f21aaaa generated using coder@tower in 13.2s, $0 · 1st in role worker; seed is left out]"


@pytest.mark.parametrize("passed_over", ["moved back: its breaker is open", "left out: the job is local-only"])
def test_a_receipt_names_the_model_that_was_passed_over(passed_over: str) -> None:
    considered = (
        ConsideredModel(model="haiku", reason="2nd in role worker"),
        ConsideredModel(model="coder", reason=passed_over),
    )
    why = f"role worker: haiku first of 2; coder {passed_over}"
    answer = attempt("haiku", cost_nusd=66000)
    fields = {"took": 2.9, "considered": considered, "reason": why}
    result = Result(id="8f21aaaa", status=Status.ANSWERED, attempts=(answer,), first_choice="coder", **fields)
    assert receipt(result) == f"[8f21aaaa used haiku@tower instead of coder in 2.9s, $0.000066 · {why}]"


@pytest.mark.parametrize(
    ("served_by", "model", "words"),
    [
        (ServedBy.LOCAL, "coder", "generated using coder@tower (local) in 8.3s"),
        (ServedBy.CLOUD, "haiku", "used haiku@tower (cloud) instead of coder in 8.3s"),
        (None, "haiku", "used haiku@tower instead of coder in 8.3s"),
    ],
    ids=["local", "cloud instead", "an older result does not say where"],
)
def test_a_receipt_says_generated_using_a_local_model_or_used_a_cloud_model_instead(
    served_by: ServedBy | None, model: str, words: str
) -> None:
    calls = (attempt("coder", ErrorClass.TIMEOUT), attempt(model))
    result = Result(id="8f21aaaa", status=Status.ANSWERED, attempts=calls, took=8.3, served_by=served_by)
    assert words in receipt(result)


def test_a_receipt_does_not_blame_the_model_that_answered_in_the_end() -> None:
    calls = (attempt("haiku", ErrorClass.TIMEOUT), attempt("haiku", why="repeated after timeout (2nd time)"))
    result = Result(id="8f21aaaa", status=Status.ANSWERED, attempts=calls, took=8.3, first_choice="coder")
    assert receipt(result).endswith(" · repeated after timeout (2nd time)]")


def test_a_result_as_json_has_null_for_an_unknown_value() -> None:
    attempts = (attempt("coder", ErrorClass.TIMEOUT), attempt("haiku", cost_nusd=0, why="fallback (unavailable)"))
    values = Result(id="8f21aaaa", status=Status.ANSWERED, attempts=attempts, took=9.0, reason="role worker").as_json()
    assert (values["model_used"], values["fallback_used"], values["latency_ms"]) == ("haiku", True, 9000)
    assert values["selection_reason"] == "fallback (unavailable); role worker"
    assert values["cost_usd"] is None
    assert [attempt["model"] for attempt in values["attempts"]] == ["coder", "haiku"]
    failed = Result(id="8f21aaaa", status=Status.FAILED, attempts=attempts[:1]).as_json()
    assert (failed["model_used"], failed["fallback_used"], failed["served_by"]) == (None, False, None)
    assert (values["models_tried"], failed["models_tried"]) == (2, 1)


def test_job_why_has_the_candidates_the_attempts_and_the_moves_in_order(
    openfall: Run, worker_for: Callable[..., Any]
) -> None:
    job_id = openfall("enqueue", "-r", "dialogue", stdin="x").stdout.strip()
    with worker_for(hand_off=True):
        openfall("job", "wait", job_id)
    lines = openfall("job", "why", job_id).stdout.splitlines()
    assert lines[0] == f"{job_id}  answered by other@rack"
    happened = [line for line in lines if line.lstrip().startswith("+")]
    words = [
        "submitted by",
        "tiny@rack: overloaded after 0.1s",
        "put into gpu.other",
        "other@rack: answered",
        "answered",
    ]
    assert [word in line for word, line in zip(words, happened, strict=True)] == [True] * 5, happened
    assert "tiny@rack: overloaded" in happened[2]
    story = json.loads(openfall("job", "why", job_id, "--json").stdout)
    assert (story["model_used"], story["fallback_used"], story["cost_usd"]) == ("other", True, None)
    assert [moment["at"] for moment in story["moments"]] == sorted(moment["at"] for moment in story["moments"])
    assert len(story["attempts"]) == 2


def test_a_call_follows_the_move_that_led_to_it_although_the_clock_of_the_worker_is_behind() -> None:
    calls = (
        Attempt(model="a", backend="rack", started_at=100.0, ended_at=101.0, error=ErrorClass.OVERLOADED),
        Attempt(model="b", backend="rack", started_at=100.995, ended_at=102.0),
    )
    events = [
        {"event": "queued", "queue": "gpu.a.batch", "position": 1, "at": 100_000},
        {"event": "started", "backend": "rack", "at": 100_000},
        {"event": "queued", "queue": "gpu.b.batch", "position": 1, "at": 101_000},
        {"event": "started", "backend": "rack", "at": 101_000},
    ]
    assert happened(calls, events) == ["submitted by me", "a@rack", "put into gpu.b.batch", "b@rack"]


@pytest.mark.parametrize("behind", [0.0, 0.009], ids=["at once", "a clock behind"])
def test_the_call_of_a_fallback_model_follows_the_fall_without_an_earlier_call(behind: float) -> None:
    call = Attempt(model="b", backend="there", started_at=101.0 - behind, ended_at=101.001)
    events = [
        {"event": "queued", "queue": "gpu.a.batch", "position": 1, "at": 100_000},
        {"event": "started", "backend": "rack", "at": 100_500},
        {"event": "fallen", "reason": "outage", "detail": "away", "at": 100_500},
        {"event": "started", "backend": "held", "at": 101_000},
        {"event": "queued", "queue": "gpu.b.batch", "position": 1, "at": 101_000},
        {"event": "started", "backend": "there", "at": 101_000},
    ]
    assert happened((call,), events) == ["submitted by me", "fell (outage)", "put into gpu.b.batch", "b@there"]


def test_a_move_follows_the_short_call_that_led_to_it() -> None:
    call = Attempt(model="a", backend="rack", started_at=100.5, ended_at=100.501, error=ErrorClass.CONNECTION)
    events = [
        {"event": "queued", "queue": "gpu.a.batch", "position": 1, "at": 100_000},
        {"event": "started", "backend": "rack", "at": 100_500},
        {"event": "queued", "queue": "gpu.b.batch", "position": 1, "at": 100_502},
        {"event": "started", "backend": "there", "at": 100_502},
    ]
    assert happened((call,), events) == ["submitted by me", "a@rack", "put into gpu.b.batch"]


def test_a_call_whose_worker_died_has_a_line_and_a_call_that_has_ended_no_progress() -> None:
    call = Attempt(model="a", backend="rack", started_at=113.0, ended_at=135.6)
    events = [
        {"event": "queued", "queue": "gpu.a.batch", "position": 1, "at": 100_000},
        {"event": "started", "backend": "rack", "at": 100_500},
        {"event": "writing", "backend": "rack", "model": "a", "characters": 9, "text_characters": 9, "at": 103_000},
        {"event": "queued", "queue": "gpu.a.batch", "position": 1, "why": WORKER_DIED, "worker": "w", "at": 112_000},
        {"event": "started", "backend": "rack", "at": 113_000},
        {"event": "writing", "backend": "rack", "model": "a", "characters": 9, "text_characters": 9, "at": 116_000},
    ]
    assert happened((call,), events) == ["submitted by me", "a call of rack", "put into gpu.a.batch", "a@rack"]
    assert f"'{WORKER_DIED}'" in (Path(scripts.__file__).parent / "lua" / "reap.lua").read_text()


def test_a_call_in_flight_shows_its_last_progress() -> None:
    events = [
        {"event": "started", "backend": "rack", "at": 100_500},
        {"event": "writing", "backend": "rack", "model": "a", "characters": 9, "text_characters": 9, "at": 103_000},
        {"event": "writing", "backend": "rack", "model": "a", "characters": 90, "text_characters": 90, "at": 106_000},
    ]
    assert happened((), events, "started") == ["claimed for a call of rack", "a is writing"]


def happened(calls: tuple[Attempt, ...], events: list[dict[str, Any]], state: str = "queued") -> list[str]:
    """The moments of a job with these calls and events, in order and in short."""
    record = JobRecord(
        id="x", state=state, queue="gpu.b.batch", producer="me", accepted_at=100.0, ended_at=0.0,
        deadline=200.0, deliveries=2,
        crashes=0, attempts=calls, job=None, result=None, worker=None, backend=None, held_for=None, hold_detail="",
    )  # fmt: skip
    return [moment.text.partition(":")[0].partition(",")[0] for moment in moments(record, events)]


def test_job_why_of_a_waiting_job_has_its_queue_and_its_candidates(openfall: Run) -> None:
    job_id = openfall("enqueue", "-r", "dialogue", stdin="x").stdout.strip()
    shown = openfall("job", "why", job_id).stdout
    assert f"{job_id}  queued" in shown
    assert "role dialogue: tiny first of 2" in shown
    assert "  1  tiny   1st in role dialogue" in shown
    assert "  2  other  2nd in role dialogue" in shown
    assert "waits in gpu.tiny.background: no live worker serves its queue" in shown
    assert json.loads(openfall("job", "why", job_id, "--json").stdout)["waits_for"] == "no live worker serves its queue"


def test_job_why_of_a_running_job_names_its_backend(openfall: Run, redis_url: str) -> None:
    job_id = openfall("enqueue", "-r", "dialogue", stdin="x").stdout.strip()

    async def claim() -> None:
        async with RedisConnection(redis_url) as link:
            drained = [QueueSubscription("gpu.tiny.background", (BackendCapacity("rack", 4),))]
            worker = WorkerQueue(link, WorkerIdentity("the-worker", "gpu", (), ()), drained)
            await worker.beat([])
            assert len((await worker.claim(1, 0)).deliveries) == 1

    asyncio.run(claim())
    shown = openfall("job", "why", job_id).stdout
    assert f"{job_id}  started" in shown
    assert "claimed for a call of rack" in shown
    assert "the-worker claimed it for rack, no answer so far" in shown


def test_job_why_of_a_held_job_has_its_reason_and_its_release(openfall: Run, loaded: LoadedConfig) -> None:
    (job_id,) = submit_held(loaded, "hold me")
    shown = openfall("job", "why", job_id).stdout
    assert "held (outage): no worker runs" in shown
    assert "continues: by itself, when a worker of the pool gpu runs" in shown


def test_a_plain_answer_has_a_story_too_although_its_events_are_gone(openfall: Run, answering: Any) -> None:
    job_id = openfall("enqueue", stdin="x").stdout.strip()
    openfall("job", "wait", job_id)
    shown = openfall("job", "why", job_id).stdout
    assert "submitted by" in shown
    assert "tiny@rack: answered after 0.1s, 3+4 tok, $?" in shown
    assert "answered, $? in all" in shown


def test_a_job_that_was_put_back_still_says_so_when_it_is_answered(
    openfall: Run, redis_url: str, worker_for: Callable[..., Any]
) -> None:
    job_id = openfall("enqueue", "-r", "dialogue", stdin="x").stdout.strip()

    async def claim_and_put_back() -> None:
        async with RedisConnection(redis_url) as link:
            drained = [QueueSubscription("gpu.tiny.background", (BackendCapacity("rack", 4),))]
            worker = WorkerQueue(link, WorkerIdentity("the-worker", "gpu", (), ()), drained)
            (delivery,) = (await worker.claim(1, 0)).deliveries
            await worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=None)))

    asyncio.run(claim_and_put_back())
    with worker_for():
        assert openfall("job", "wait", job_id).returncode == 0
    assert "worker stopping" in openfall("job", "why", job_id).stdout


def test_a_cancelled_job_was_cancelled_when_it_was(openfall: Run, store: Any) -> None:
    job_id = openfall("enqueue", "-r", "dialogue", stdin="x").stdout.strip()
    openfall("job", "cancel", job_id, "--yes")
    store.hset(f"of:job:{job_id}", "ended", int(store.hget(f"of:job:{job_id}", "accepted")) + 30_000)
    assert "+30.00s  cancelled" in openfall("job", "why", job_id).stdout
    (row,) = json.loads(openfall("job", "list", "--json").stdout)
    assert row["took_seconds"] == 30.0


def test_job_why_of_a_fallen_job_says_that_it_waits_for_a_degrade_worker(openfall: Run, store: Any) -> None:
    job_id = openfall("enqueue", "-r", "dialogue", stdin="x").stdout.strip()
    store.hset(f"of:job:{job_id}", "queue", "degrade")
    shown = openfall("job", "why", job_id)
    assert shown.returncode == 0
    assert "waits in degrade: no model could serve it, and no degrade worker has claimed it yet" in shown.stdout


@pytest.mark.parametrize(
    ("job_id", "shown"), [("8f21c6d0b7f94e0c9a51d3e2", "8f21c6d0"), ("episode-07-panel-140", "episode-07-panel-140")]
)
def test_a_receipt_shows_enough_of_an_id_to_name_its_job(job_id: str, shown: str) -> None:
    assert receipt(Result(id=job_id, status=Status.ANSWERED)).startswith(f"[{shown} in ")
