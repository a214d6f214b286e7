"""`/metrics` of the HTTP gateway: what Prometheus reads, who may read it, and what it says while Redis is away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from openfall.router_core.state.client_keys import ClientKey, PageRight, add_key, digest_of, fetch_keys
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run

FORWARDED = {"x-forwarded-for": "192.0.2.7"}
BUDGET = "budgets: {house: {usd: 5, per: day}}"


def samples(text: str, parse: Callable[..., Any] = parse_text) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels."""
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def labels(**values: str) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in sorted(values.items()))


def test_a_scrape_has_the_jobs_the_queues_the_workers_and_the_names_of_rq(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        broken = answer({"error": {"message": "no"}}, 400)
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), broken, answer(COMPLETION)) as gateway:
            for _ in range(2):
                assert (await gateway.chat()).status_code == 200
            await gateway.link.command("RPUSH", "rq:queue:strange", "some-job")
            await gateway.link.command("SADD", "rq:queues", "rq:queue:strange")
            plain = await gateway.http.get("/metrics")
            wanted = "application/openmetrics-text;version=1.0.0"
            openmetrics = await gateway.http.get("/metrics", headers={"accept": wanted})
        assert plain.headers["content-type"].startswith("text/plain")
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
        got = samples(plain.text)
        job = {"role": "chat", "urgency": "interactive", "group": ""}
        assert got["openfall_jobs_total", *labels(**job, model="tiny", outcome="answered")] == 1
        assert got["openfall_jobs_total", *labels(**job, model="other", outcome="fell_back")] == 1
        assert got["openfall_job_duration_seconds_count", *labels(**job, model="tiny")] == 1
        assert got["openfall_job_duration_seconds_bucket", *labels(**job, le="+Inf", model="tiny")] == 1
        assert got["openfall_fallbacks_total", *labels(**{"from": "tiny"}, to="other", cause="bad_request")] == 1
        assert got["openfall_queue_wait_seconds_count", *labels(model="tiny", urgency="interactive")] == 1
        assert got["openfall_queue_jobs", *labels(pool="other", model="", urgency="other")] == 1
        assert got["openfall_queue_jobs", *labels(pool="gpu", model="tiny", urgency="interactive")] == 0
        assert got["openfall_workers", "pool=gpu"] == got["openfall_workers", "pool=degrade"] == 1
        assert got["openfall_up",] == got["openfall_accepting_jobs",] == 1
        assert got["openfall_accepted_total",] == 2
        assert got["rq_jobs", *labels(queue="gpu.tiny.interactive", status="finished")] == 1
        assert got["rq_jobs", *labels(queue="other", status="queued")] == 1
        assert [name for name in got if name[0] == "rq_workers_success_total"]
        same = samples(openmetrics.text, parse_openmetrics)
        assert same["openfall_jobs_total", *labels(**job, model="tiny", outcome="answered")] == 1
        assert "strange" not in plain.text

    run(main)


def test_with_keys_a_scrape_from_elsewhere_needs_one_that_may_read_the_page(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            await add_key(gateway.link, ClientKey(name="bot", digest=digest_of("of_bot")))
            await add_key(gateway.link, ClientKey(name="prom", digest=digest_of("of_prom"), page=PageRight.READ))
            gateway.instance.keys = await fetch_keys(gateway.link)

            async def status(key: str | None, **headers: str) -> int:
                sent = {"authorization": f"Bearer {key}"} if key else {}
                return (await gateway.http.get("/metrics", headers={**sent, **headers})).status_code

            assert await status(None) == 200, "on this machine everybody may read"
            assert await status(None, **FORWARDED) == 401
            assert await status(None, origin="https://elsewhere.example") == 403
            assert await status("of_bot", **FORWARDED) == 403
            assert await status("of_prom", **FORWARDED) == 200

    run(main)


def test_while_redis_is_away_a_scrape_succeeds_and_says_so(server: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(server.url, tmp_path, pools=()) as gateway:
            server.kill()
            away = await scrape(gateway)
        assert away == {("openfall_up",): 0.0}

    async def scrape(gateway: RunningGateway) -> dict[tuple[str, ...], float]:
        response = await gateway.http.get("/metrics")
        assert response.status_code == 200
        return samples(response.text)

    run(main)


def test_no_process_imports_the_client_of_prometheus_before_the_first_scrape() -> None:
    modules = "openfall.producers.gateway.app, openfall.producers.cli.metrics"
    code = f"import sys, {modules}; print(*[name for name in sys.modules if name.startswith('prometheus')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
