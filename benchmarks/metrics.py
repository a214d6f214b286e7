"""The time of a scrape of `/metrics`: 50 models, 10,000 held jobs, many labels. Reading Redis, and writing the text."""

from __future__ import annotations

import asyncio
import time

import click
from redis import Redis
from rich.console import Console

from benchmarks.server import valkey
from benchmarks.table import Row, Sheet, figure, show
from openfall.producers.metrics.exposition import expose
from openfall.producers.metrics.metrics_reader import read_metrics
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import Urgency

MODELS, HELD, SCRAPES = 50, 10_000, 30
COLUMNS = {
    "total": "a scrape, ms",
    "cpu": "CPU of the gateway, ms",
    "read": "of it reading Redis, ms",
    "samples": "lines",
}


def catalog() -> Catalog:
    backends = {f"box-{n}": {"url": f"http://box-{n}", "pool": "gpu"} for n in range(5)}
    models = {f"model-{n}": {"upstream": f"m{n}", "backends": [f"box-{n % 5}"]} for n in range(MODELS)}
    roles = {f"role-{n}": {"chain": [f"model-{n}", "model-0"]} for n in range(1, 11)}
    return Catalog.model_validate({"backends": backends, "models": models, "roles": roles})


def fill(store: Redis, names: Catalog, rows: int) -> None:
    """Queues with jobs, breakers, workers, held jobs, and `rows` sets of labels of jobs."""
    pipe = store.pipeline(transaction=False)
    for n, alias in enumerate(names.models):
        for urgency in Urgency:
            queue = names.queue(alias, urgency)
            pipe.sadd("rq:queues", f"rq:queue:{queue}")
            pipe.rpush(f"rq:queue:{queue}", f"job-{n}-{urgency}")
            pipe.hset(f"of:job:job-{n}-{urgency}", mapping={"accepted": 1700000000000, "state": "queued"})
        target = f"box-{n % 5}/{alias}"
        pipe.sadd("of:breakers", target)
        pipe.hset(f"of:breaker:{target}", mapping={"state": "closed", "epoch": n})
        pipe.hset("of:metrics", f"wait {alias} interactive 0.5", 7)
        pipe.hset("of:metrics", f"fallback {alias} model-0 timeout n", 7)
    for row in range(rows):
        labels = f"role-{1 + row % 10} {list(Urgency)[row % 3]} - model-{row % MODELS}"
        cells = {f"{labels} answered {bound}": 3 for bound in ("0.5", "1", "2.5", "5", "10", "30")}
        pipe.hset("of:job-counts", mapping={**cells, f"{labels} ms": 90000, f"{labels} in": 7, f"{labels} out": 7})
    for n in range(20):
        pipe.sadd("rq:workers", f"rq:worker:w{n}")
        pipe.hset(f"rq:worker:w{n}", mapping={"queues": "gpu.model-0.batch", "state": "idle"})
    pipe.execute()
    for start in range(0, HELD, 1000):
        store.zadd("rq:deferred:degrade", {f"held-{n}": n for n in range(start, start + 1000)})


async def measure(url: str, store: Redis, rows: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {name: [] for name in COLUMNS}
    names = catalog()
    store.flushall()
    fill(store, names, rows)
    async with RedisConnection(url) as link:
        for scrape in range(SCRAPES + 1):
            began, cpu = time.perf_counter(), time.process_time()
            reading = await read_metrics(link, names)
            read = time.perf_counter()
            text = await asyncio.to_thread(expose, reading, names)
            ended = time.perf_counter()
            if scrape:  # the first one imports
                figures["total"].append((ended - began) * 1000)
                figures["cpu"].append((time.process_time() - cpu) * 1000)
                figures["read"].append((read - began) * 1000)
                figures["samples"].append(float(text.body.count(b"\n")))
    return figures


def compare(console: Console) -> list[Sheet]:
    rows = []
    with valkey() as server:
        for labels in (50, 150):
            console.print(f"[dim]{labels} sets of labels[/dim]")
            measured = asyncio.run(measure(server.url, server.client, labels))
            rows.append(Row(f"{labels} sets of labels", {name: figure(row) for name, row in measured.items()}))
    return [Sheet(f"A scrape: {MODELS} models, {HELD:,} held jobs", COLUMNS, rows)]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def main(as_json: bool) -> None:
    """Time scrapes."""
    show(compare(Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
