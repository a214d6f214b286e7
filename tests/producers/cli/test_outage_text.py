"""`status`, `job why` and `batch status` name an outage: what takes no calls, since when, the next probe."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openfall import AsyncOpenfall
from openfall.config import load
from openfall.producers.outage_text import describe_away, list_away, list_unknown_keys
from openfall.router_core.state.backend_reports import remember_health
from openfall.router_core.state.breakers import BreakerStatus
from openfall.router_core.vocabulary import BreakerState
from tests.producers.cli.batch_files import line
from tests.producers.cli.conftest import Run, Start

CONFIG = """
redis: ${REDIS_URL:-embedded}
pools: {gpu: {local: yes}, cloud: {}}
backends:
  rack: {protocol: openai, url: "http://127.0.0.1:9", pool: gpu, slots: 64}
  plan: {protocol: anthropic, url: "http://127.0.0.1:9", pool: cloud, billing: flat, api_key: sk-0123456789abcdefghij}
models:
  tiny: {upstream: tiny-1, backends: [rack], slow_after: 10s}
  plan-cloud: {upstream: plan-1, backends: [plan]}
roles: {dialogue: {chain: [tiny]}, others: {chain: [plan-cloud, tiny]}}
breakers: {consecutive_failures: 1}
"""


@pytest.fixture
def config_text() -> str:
    return CONFIG


def test_status_says_why_batch_jobs_wait_not_only_that_they_do(openfall: Run, called: Callable[..., None]) -> None:
    openfall("enqueue", "-r", "dialogue", "-u", "batch", stdin="draw the festival")
    called("tiny", "rack", "connection")
    shown = openfall("status").stdout
    assert "1 job waits" in shown
    assert re.search(r"- tiny@rack takes no calls: connection for \d+s\. No worker probes it now", shown)
    (away,) = json.loads(openfall("status", "--json").stdout)["away"]
    assert (away["model"], away["backends"], away["flat_plan"]) == ("tiny", ["rack"], False)


def test_job_why_and_batch_status_name_the_outage(
    openfall: Run, start: Start, called: Callable[..., None], tmp_path: Path
) -> None:
    called("tiny", "rack", "connection")
    ran = openfall("enqueue", "-r", "dialogue", "-u", "batch", stdin="draw the festival")
    shown = openfall("job", "why", ran.stdout.strip()).stdout
    assert "waits in gpu.tiny.batch: no live worker serves its queue; no calls to tiny@rack for" in shown
    assert "next probe in" in shown
    (tmp_path / "in.jsonl").write_text(line("line-1", "draw", body={"model": "dialogue"}) + "\n")
    with start("batch", "run", "in.jsonl", "-o", "out.jsonl") as process:
        progress: dict[str, Any] = {}
        while progress.get("queued") != 1:
            status = openfall("batch", "status", "out", "--json")
            progress = json.loads(status.stdout) if status.returncode == 0 else {}
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert "no calls to tiny@rack for" in progress["why"]


def test_status_names_a_flat_plan_that_is_out(openfall: Run, called: Callable[..., None]) -> None:
    called("plan-cloud", "plan", "out_of_credits")
    shown = openfall("status").stdout
    assert (
        "- the key of plan takes no calls: out_of_credits (a flat plan: its jobs go to other models, which may be"
        in shown
    )


def test_status_names_a_flat_plan_that_is_rate_limited(openfall: Run, called: Callable[..., None]) -> None:
    called("plan-cloud", "plan", "rate_limited", retry_after_seconds=3000)
    shown = openfall("status").stdout
    assert (
        "- plan-cloud@plan is rate limited (a flat plan: its jobs go to other models, which may be metered)." in shown
    )
    assert "it is called again, in 50m" in shown


def breaker(target: str, **more: Any) -> BreakerStatus:
    fields = {"state": BreakerState.OPEN, "epoch": 1, "since": 90.0, "why": "5 failures in a row", "open_count": 1,
              "consecutive_failures": 0, "until": 140.0, "forced": None, "forced_until": None, "cooling_until": None,
              "slow_starting": False, "away_since": 40.0, **more}  # fmt: skip
    return BreakerStatus(target=target, **fields)


def test_a_blocked_key_is_no_outage_while_its_backend_has_another(config_file: Path) -> None:
    text = CONFIG.replace("api_key: sk-0123456789abcdefghij", "api_keys: [sk-one, sk-two]").replace("flat", "metered")
    config_file.write_text(text)
    catalog = load(config_file, environ={}).catalog
    first, second = (f"key:{name}" for name in catalog.credentials("plan"))

    def shown(*targets: str) -> str:
        return describe_away(list(list_away([breaker(target) for target in targets], catalog)), 100.0)

    assert (shown(first), shown(second)) == ("", "")
    assert shown(first, second).startswith("no calls to the key of plan for 60s")
    assert shown(first, f"plan/plan-cloud#{second.removeprefix('key:')}").startswith("no calls to the key of plan")


def test_a_refused_key_of_other_members_is_named_while_they_probe_it(config_file: Path) -> None:
    catalog = load(config_file, environ={}).catalog
    (own,) = catalog.credentials("plan")
    rows = [breaker(f"key:{own}"), breaker("key:gone"), breaker("key:replaced", until=99.0), breaker("rack/tiny")]
    (other,) = list_unknown_keys(rows, catalog, 100.0)
    assert (other.name, other.backends) == ("a key that this configuration does not have", ())


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "no calls to tiny@rack for 60s (5 failures in a row; next probe in at least 40s)"),
        ({"until": 99.0}, "no calls to tiny@rack for 60s (5 failures in a row; its probe is due)"),
        ({"until": None}, "no calls to tiny@rack for 60s (5 failures in a row; no probe is planned)"),
        ({"state": BreakerState.CLOSED}, ""),
    ],
)
def test_an_open_breaker_in_words(config_file: Path, redis_url: str, more: dict[str, Any], text: str) -> None:
    catalog = load(config_file, environ={"REDIS_URL": redis_url}).catalog
    rows = [breaker("rack/tiny", **more), breaker("rack/gone"), breaker("key:gone")]
    assert describe_away(list(list_away(rows, catalog)), 100.0) == text


def test_models_shows_that_a_model_has_become_slow_and_then_its_breaker_opens(
    openfall: Run, called: Callable[..., None]
) -> None:
    for _ in range(9):
        called("tiny", "rack", None, seconds=12.0)
    shown = openfall("models").stdout
    assert "slow: 9 of 9 recent calls took longer than 10s, 12.0s on average" in " ".join(shown.split())
    (at,) = json.loads(openfall("models", "--json").stdout)[0]["at"]
    assert (at["slow_calls"], at["recent_calls"], at["latency"]) == (9, 9, 12.0)
    called("tiny", "rack", None, seconds=12.0)
    assert re.search(r"tiny@rack takes no calls: slow for \d+s\. No worker probes it", openfall("status").stdout)


@pytest.mark.parametrize(
    ("how", "what"), [("prompted", "health check"), ("alive", "health check"), ("load", "last load")]
)
def test_status_names_a_model_whose_health_check_or_load_failed_and_the_jobs_that_wait_for_their_retry(
    openfall: Run, config_file: Path, redis_url: str, how: str, what: str
) -> None:
    loaded = load(config_file, environ={"REDIS_URL": redis_url})

    async def fail_check() -> None:
        async with AsyncOpenfall(config=loaded) as llm:
            now = await llm.store.server_time()
            check = {"at": now, "ok": False, "how": how, "latency": None, "detail": "connection refused"}
            await remember_health(llm.store.connection, "rack/tiny", check)
            await llm.store.connection.command("SADD", "rq:queues", "rq:queue:gpu.tiny.batch")
            await llm.store.connection.command("ZADD", "rq:scheduled:gpu.tiny.batch", int(now) + 60, "job-00001")

    asyncio.run(fail_check())
    shown = openfall("status").stdout
    assert "1 job scheduled for a retry" in shown
    assert f"- tiny@rack takes no calls: its {what} failed: connection refused." in shown
    openfall("breakers", "open", "rack/tiny", "--why", "the fan is off")
    assert openfall("status").stdout.count("tiny@rack") == 1
