"""What `ask` and `job wait` do about a job that nothing can serve now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from openfall.config import LoadedConfig
from openfall.producers.cli import render
from openfall.producers.cli.answer_text import show_answer
from openfall.producers.cli.render import WaitIndicator, receipt
from openfall.producers.duration_text import format_time
from openfall.producers.local_batches.batch_file_lines import answer_row
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Remedy
from tests.producers.cli.conftest import Run, Start
from tests.producers.hold_jobs import SORRY, WHY, hold_next_sync, submit_held

TEXT = {"choices": [{"message": {"role": "assistant", "content": "well, well"}}]}


@pytest.mark.parametrize(
    ("reply", "more", "code"),
    [(SORRY, (), 0), ("", (), 7), (SORRY, ("--strict",), 6), ("", ("--strict",), 6)],
    ids=["a reply", "none", "a reply, strictly", "none, strictly"],
)
def test_an_interactive_ask_returns_at_once_and_the_job_continues(
    start: Start, openfall: Run, redis_url: str, worker_for: Callable[..., Any], reply: str, more: tuple[str, ...],
    code: int,
) -> None:  # fmt: skip
    with start("ask", "Haruka waves", *more) as process:
        job_id = hold_next_sync(redis_url, "gpu.tiny.interactive", reply=reply)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, f"{reply}\n" if reply else "")
    assert f"the reason is outage: {WHY}" in err
    assert ("an interim reply (canned reply)" if reply else "there is no reply yet") in err
    until = format_time(json.loads(openfall("job", "show", job_id, "--json").stdout)["deadline"])
    assert f"held until {until}, and will be answered by itself. Its answer: openfall job wait {job_id}" in err
    openfall("held", "replay", job_id)
    with worker_for():
        waited = openfall("job", "wait", job_id)
    assert (waited.returncode, waited.stdout) == (0, "echo Haruka waves\n")


def test_an_interim_reply_as_json_is_not_final(start: Start, redis_url: str) -> None:
    with start("ask", "hi", "--json") as process:
        hold_next_sync(redis_url, "gpu.tiny.interactive")
        result = json.loads(process.communicate(timeout=60)[0])
    assert (result["degraded"], result["final"], result["held_for"], result["model_used"]) == (
        True,
        False,
        "outage",
        None,
    )
    assert result["text"] == SORRY


def test_a_job_that_needs_an_operator_promises_no_answer(start: Start, redis_url: str) -> None:
    with start("ask", "hi") as process:
        job_id = hold_next_sync(redis_url, "gpu.tiny.interactive", reason=HoldReason.POISONED, models=())
        _, err = process.communicate(timeout=60)
    assert f"held until an operator replays it: openfall held show {job_id}" in err


def test_an_ask_that_may_wait_returns_when_its_job_waits_for_an_operator(start: Start, redis_url: str) -> None:
    with start("ask", "no hurry", "-r", "dialogue") as process:
        job_id = hold_next_sync(redis_url, "gpu.tiny.background", reason=HoldReason.OWN_FAULT, models=(), reply="")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 7
    assert f"held until an operator replays it: openfall held show {job_id}" in err


def test_a_wait_prints_a_line_when_it_changes_and_does_not_repeat_it_all_the_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(render, "PRINT_INTERVAL_SECONDS", 0)

    async def wait() -> None:
        async with WaitIndicator("held") as indicator:
            for _ in range(100):
                await asyncio.sleep(0)
            indicator.update("released")
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(wait())
    lines = capsys.readouterr().err.split()
    assert lines.count("held") <= 7
    assert lines[-1] == "released"


def test_a_job_that_may_wait_is_waited_for_although_it_is_held(start: Start, openfall: Run, redis_url: str,
                                                               worker_for: Callable[..., Any]) -> None:  # fmt: skip
    with start("ask", "no hurry", "-r", "dialogue") as process:
        job_id = hold_next_sync(redis_url, "gpu.tiny.background")
        with worker_for():
            openfall("held", "replay", job_id)
            out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "echo no hurry\n")


def test_job_wait_returns_the_interim_reply_on_request(openfall: Run, loaded: LoadedConfig) -> None:
    (job_id,) = submit_held(loaded, "x", urgency="batch")
    ran = openfall("job", "wait", job_id, "--accept-interim")
    assert (ran.returncode, ran.stdout) == (0, f"{SORRY}\n")
    assert openfall("job", "wait", job_id, "--wait", "300ms").returncode == 7


def degraded(by: Remedy, **more: Any) -> Result:
    calls = (
        Attempt(model="tiny", backend="rack", started_at=1.0, ended_at=2.0, error=ErrorClass.TIMEOUT),
        Attempt(model="smol-a", backend="one", started_at=3.0, ended_at=4.0, output_tokens=5, cost_nusd=0),
    )
    fields = {"attempts": calls, "body": TEXT, "took": 3.0, **more}
    return Result(id="8f21aaaa", status=Status.DEGRADED, degraded_by=by, **fields)


@pytest.mark.parametrize(
    ("by", "words", "model"),
    [
        (
            Remedy.DEFAULT_FALLBACK,
            "used smol-a@one instead of tiny in 3.0s, ?+5 tok, $?, 2 models tried · degraded: default fallback smol-a",
            "smol-a",
        ),
        (Remedy.CANNED_REPLY, "in 3.0s, $?, 2 models tried · degraded: canned reply", None),
        (Remedy.LAST_ANSWER, "in 3.0s, $?, 2 models tried · degraded: the last answer to the same request", None),
    ],
)
def test_the_receipt_of_a_degraded_job_has_its_remedy(
    capsys: pytest.CaptureFixture[str], by: Remedy, words: str, model: str | None
) -> None:
    result = degraded(by)
    assert receipt(result) == f"[8f21aaaa {words}]"
    assert result.as_json()["model_used"] == model
    assert (show_answer(result), show_answer(result, strict=True)) == (0, 6)
    assert capsys.readouterr().out == "well, well\n" * 2


def test_in_a_batch_a_canned_reply_is_no_response_and_a_default_fallbacks_answer_is_one() -> None:
    canned = answer_row("8f21aaaa", "line-1", degraded(Remedy.CANNED_REPLY, degraded_why="every model is away"))
    assert canned["response"] is None
    assert canned["error"] == {"code": "degraded", "message": "every model is away"}
    assert answer_row("8f21aaaa", "line-1", degraded(Remedy.DEFAULT_FALLBACK))["response"]["body"] == TEXT
