"""A caller whose job has no answer because of a wrong key reads which key it is, and how to check it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openfall import AsyncOpenfall, config
from openfall.config import key_place
from openfall.router_core.jobs.outcome import ErrorClass
from openfall.router_core.state import keys
from openfall.router_core.state.external_calls import ExternalCall, report_external_call
from tests.config.config_texts import load_text
from tests.producers.cli.conftest import Run


def test_an_ask_names_the_backend_whose_key_is_refused(
    openfall: Run, worker_for: Callable[..., Any], config_file: Path
) -> None:
    with worker_for(reply=lambda job: ErrorClass.AUTH):
        ran = openfall("ask", "x")
    assert ran.returncode == 1
    (line,) = [row for row in ran.stderr.splitlines() if "refuses its key" in row]
    assert line == (
        f"rack refuses its key: auth. Correct api_key of backends.rack in {config_file}, "
        "then check it: openfall preflight"
    )


def test_an_ask_that_waits_for_a_parked_key_names_it(
    openfall: Run, config_file: Path, store: Any, redis_url: str
) -> None:
    config_file.write_text(config_file.read_text().replace("pool: gpu,", "pool: gpu, api_key: k,"))
    loaded = config.load(config_file, environ={"REDIS_URL": redis_url})

    async def park() -> None:
        async with AsyncOpenfall(config=loaded) as llm:
            call = ExternalCall(model="tiny", backend="rack", error=ErrorClass.AUTH)
            await report_external_call(llm.store.connection, loaded.catalog, call)

    asyncio.run(park())
    store.sadd(keys.RQ_WORKERS, f"{keys.RQ_WORKER}w1")
    store.hset(f"{keys.RQ_WORKER}w1", mapping={"queues": "gpu.tiny.background", "state": "idle"})
    store.zadd(keys.PRESENCE, {"w1": 9e15})
    ran = openfall("ask", "x", "-m", "tiny", "-u", "background", "--wait", "5s")
    assert "rack refuses its key: auth" in ran.stderr, ran.stderr


@pytest.mark.parametrize("error", [ErrorClass.TIMEOUT, ErrorClass.OVERLOADED, ErrorClass.RATE_LIMITED])
def test_another_failure_names_no_key(openfall: Run, worker_for: Callable[..., Any], error: ErrorClass) -> None:
    with worker_for(reply=lambda job: error):
        assert "refuses its key" not in openfall("ask", "x").stderr


@pytest.mark.parametrize(
    ("key", "environ", "place"),
    [
        ('api_key: "${CLOUD_KEY}"', {"CLOUD_KEY": "k"}, "CLOUD_KEY"),
        ('auth_token: "${CLOUD_TOKEN}"', {"CLOUD_TOKEN": "k"}, "CLOUD_TOKEN"),
        ('api_key: "${FIRST:-}${SECOND:-}"', {"FIRST": "k"}, "FIRST"),
        ("api_key: written-here", {}, "api_key of backends.cloud in"),
    ],
)
def test_the_place_of_a_key_is_its_variable_or_its_line(
    tmp_path: Path, key: str, environ: dict[str, str], place: str
) -> None:
    loaded: config.LoadedConfig = load_text(
        tmp_path, f"backends: {{cloud: {{url: 'http://a', pool: gpu, {key}}}}}\n", environ
    )
    text = key_place(loaded, "cloud")
    assert text.startswith(place)
    assert "written-here" not in text
