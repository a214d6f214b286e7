"""The worker's log: who answered each job, each hand-off with its cause and to whom, and nothing private."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from openfall import AsyncOpenfall
from openfall.config import load
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.catalog.urgency_policy import UrgencyPolicy
from openfall.router_core.vocabulary import Remedy, Urgency
from openfall.workers.log_format import LineFormatter
from tests.faults import COMPLETION, answer, fault_server
from tests.worker_harness import Fleet, running_fleet, worker_command

BUSY = answer({"error": {"type": "overloaded_error", "message": "Overloaded"}}, 529)


def build_catalog(own: str, cloud: str) -> Catalog:
    return Catalog(
        backends={
            "box": Backend(url=own, pool="gpu"),
            "anthropic": Backend(url=f"{cloud}/a/path-token", pool="cloud", api_key="sk-a-secret-key"),  # type: ignore[arg-type]
        },
        models={
            "coder": ModelSpec(upstream="qwen3-coder:cloud", backends=("box",)),
            "sonnet": ModelSpec(upstream="claude-sonnet-4-5-20250929", backends=("anthropic",)),
            "haiku": ModelSpec(upstream="claude-haiku-4-5", backends=("anthropic",)),
        },
        roles={
            "main": Role(chain=("sonnet", "haiku")),
            "others": Role(chain=("coder", "haiku")),
            "alone": Role(chain=("sonnet",), open_fall=(Remedy.DEFAULT_FALLBACK, Remedy.HOLD)),
        },
        groups=(Group(name="main", match=("whatsapp:main",), role="main"),),
        urgency={word: UrgencyPolicy(start_within=30.0, expires_after=120) for word in Urgency},
        breakers=BreakerPolicy(consecutive_failures=1, open_for=60, jitter=0),
    )  # fmt: skip


def logged(
    redis_url: str, home: Path, caplog: pytest.LogCaptureFixture, scripts: list[Any],
    story: Callable[[Fleet], Awaitable[str]],
) -> list[str]:  # fmt: skip
    """The lines of one job, without its id. The local endpoint answers well, the one in the cloud by the scripts."""

    async def main() -> str:
        async with fault_server(answer(COMPLETION)) as own, fault_server(*scripts) as cloud:
            catalog = build_catalog(own.url, cloud.url)
            async with running_fleet(redis_url, home, catalog, "gpu", "cloud", "degrade") as fleet:
                return await story(fleet)

    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(LineFormatter())
    job = asyncio.run(main())
    for secret in ("path-token", "sk-a-secret", "Haruka", "lantern"):
        assert secret not in caplog.text
    lines = [line.partition(" ")[2] for line in caplog.text.splitlines()]
    return [line.partition(": ")[2] for line in lines if line[2:].startswith(f"{job}: ")]


async def answered(fleet: Fleet, chain: tuple[str, ...], **more: Any) -> str:
    job = await fleet.accept("job-00001", chain, Urgency.INTERACTIVE, prompt="Haruka waves", **more)
    await fleet.until(job, "done")
    return job


def test_the_log_says_which_upstream_model_answered_via_which_url_and_that_it_is_local(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (line,) = logged(
        redis_url, tmp_path, caplog, [BUSY], lambda fleet: answered(fleet, ("coder", "haiku"), role="others")
    )
    head, _, tail = line.partition("; ")
    assert head.startswith("answered by coder@box: qwen3-coder:cloud via http://127.0.0.1:")
    assert head.endswith(" (local)")
    values = dict(part.split("=") for part in tail.split())
    assert values.pop("seconds").replace(".", "").isdigit()
    assert values == {
        "role": "others", "task": "-", "group": "-", "urgency": "interactive", "chain": "coder,haiku", "fallback": "no",
        "left_home": "no", "calls": "1", "models": "1", "tokens_in": "41", "tokens_out": "5", "cost_usd": "0",
        "model": "coder", "backend": "box", "status": "answered",
    }  # fmt: skip


def test_the_log_says_that_main_used_the_claude_model_of_its_upstream_name(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (line,) = logged(
        redis_url, tmp_path, caplog, [answer(COMPLETION)],
        lambda fleet: answered(fleet, ("sonnet", "haiku"), role="main", group="main"),
    )  # fmt: skip
    assert line.startswith("answered by sonnet@anthropic: claude-sonnet-4-5-20250929 via http://127.0.0.1:")
    assert " (cloud); role=main task=- group=main urgency=interactive chain=sonnet,haiku fallback=no" in line
    assert line.endswith("tokens_in=41 tokens_out=5 cost_usd=- model=sonnet backend=anthropic status=answered")


def test_a_hand_off_is_one_line_with_its_cause_and_attempting_fallback_to_whom(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, last = logged(
        redis_url, tmp_path, caplog, [BUSY, answer(COMPLETION)],
        lambda fleet: answered(fleet, ("sonnet", "haiku"), role="main"),
    )  # fmt: skip
    assert first.startswith(
        "sonnet@anthropic fails: overloaded (HTTP 529); attempting fallback haiku@anthropic; role=main model=sonnet "
    )
    assert first.endswith(" detail=HTTP 529 overloaded_error: Overloaded")
    assert last.startswith("answered by haiku@anthropic: claude-haiku-4-5 via ")
    assert " fallback=yes left_home=no calls=2 models=2 " in last


def test_a_retry_is_one_line_with_its_wait(redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(fleet: Fleet) -> str:
        job = await fleet.accept("job-00001", ("haiku",), Urgency.BATCH, prompt="Haruka waves")
        await fleet.until(job, "done")
        return job

    refusal = answer({"error": {"message": "slow down"}}, 429, retry_after="1")
    first, last = logged(redis_url, tmp_path, caplog, [refusal, answer(COMPLETION)], story)
    assert first.startswith("haiku@anthropic fails: rate_limited (HTTP 429); retrying haiku@anthropic in 1.")
    assert " fallback=no left_home=no calls=2 models=1 " in last


def test_a_fall_to_a_default_fallback_is_a_line_each_and_says_to_whom(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    call, *_, fell, handed, last = logged(
        redis_url, tmp_path, caplog, [BUSY], lambda fleet: answered(fleet, ("sonnet",), role="alone")
    )
    assert call.startswith("sonnet@anthropic fails: overloaded (HTTP 529); ")
    assert fell.startswith('fell: {"at":')
    why = "every model of its chain is away; its default fallback is coder"
    assert handed == f"attempting fallback coder@box; role=alone why={why}"
    assert last.startswith("degraded, answered by coder@box: qwen3-coder:cloud via ")
    assert " fallback=yes left_home=no calls=2 models=2 " in last


def test_a_failed_job_is_one_line_with_its_error(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = answer({"error": {"message": "unknown parameter", "type": "invalid_request_error"}}, 400)
    (line,) = logged(redis_url, tmp_path, caplog, [refusal], lambda fleet: answered(fleet, ("haiku",)))
    assert line.startswith("failed: bad_request; role=- ")
    assert line.endswith(" detail=HTTP 400 invalid_request_error: unknown parameter")


def test_a_worker_process_writes_the_line_to_standard_error(redis_url: str, tmp_path: Path) -> None:
    async def main() -> str:
        async with fault_server(answer(COMPLETION)) as own:
            config = tmp_path / "openfall.yaml"
            config.write_text(
                f"redis: {redis_url}\nbackends: {{box: {{url: '{own.url}', pool: gpu}}}}\n"
                "models: {smol: {upstream: 'smol:1b', backends: [box]}}\n"
            )
            async with AsyncOpenfall(redis_url, config=load(config, environ={})) as llm:
                job = await llm.submit("Haruka waves", model="smol")
                command = worker_command("gpu", config, "--burst")
                run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
                return f"{job.id}\n{run.stderr}"

    job, _, log = asyncio.run(main()).partition("\n")
    (line,) = [line for line in log.splitlines() if job in line]
    assert f" I {job}: answered by smol@box: smol:1b via http://127.0.0.1:" in line
