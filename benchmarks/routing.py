"""What choosing a model costs, beside the call that is decided about: `python -m benchmarks.routing`.

A chain of 10 of 50 models. The fleet is another for each decision: queues, latencies, breakers, what is loaded.
The call is our whole `complete()`, one after another, to an upstream on loopback that answers at once: the least that
any model costs. Decisions and calls take turns; CPU is that of this process alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import cycle

import click
import uvloop
from rich.console import Console

from benchmarks.http_clients import REQUEST, turn, upstream
from benchmarks.table import Row, Sheet, figure, show
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.jobs.request_body import user_texts
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.fleet_state import Blocked, FleetState, ModelState
from openfall.router_core.routing.requirements import requirements_for
from openfall.router_core.routing.route import route
from openfall.router_core.vocabulary import BlockReason, Urgency

MODELS, CHAIN, FLEETS = 50, 10, 256
NOW = 1_800_000_000.0
WORDS = {
    "code_generation": ("write", "create", "implement", "function", "class"),
    "code_review": ("review", "check", "analyze code", "find bugs", "security"),
    "reasoning": ("why", "explain", "logic", "deduce", "infer"),
    "complex": ("design", "architect", "comprehensive", "detailed analysis"),
    "fast_response": ("quick", "brief", "summary", "tldr"),
    "simple": ("what is", "define", "basic", "tell me"),
}
PROMPT = "Please write a function that greets the festival crowd, and a class for the lanterns. " * 4
BODY = {**REQUEST, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0.7}
CALL = "the call: complete() over loopback HTTP"
Runs = dict[str, list[tuple[float, float]]]
"""Microseconds of time and of CPU for one, by what was measured."""


def catalog() -> Catalog:
    """50 models, half of them local, with scores, prices and load times."""
    names = [f"model-{number}" for number in range(MODELS)]
    specs = {
        name: ModelSpec(
            upstream=name,
            backends=(("tower", "provider")[number % 2],),
            quality={"code_generation": number / MODELS, "default": 0.5},
            load_time=5.0 + number,
            usd_per_mtok=Prices(input=1, output=number),
        )
        for number, name in enumerate(names)
    }
    chain = tuple(names[::5])
    return Catalog(
        backends={
            "tower": Backend(url="http://127.0.0.1:1", pool="gpu"),
            "provider": Backend(url="http://127.0.0.1:2", pool="cloud"),
        },
        models=specs,
        roles={"ace": Role(chain=chain)},
        tasks={name: TaskType(chain=chain, words=words) for name, words in WORDS.items()},
    )


def fleets() -> list[FleetState]:
    """Fleets in which every sixth model is blocked and the others are busy at random."""
    draw = random.Random(7)
    return [FleetState({f"model-{number}": _state(draw) for number in range(MODELS)}) for _ in range(FLEETS)]


def _state(draw: random.Random) -> ModelState:
    left = draw.uniform(1, 90)
    shut = Blocked(BlockReason.BREAKER, NOW + left, f"its breaker is open (5 failures in a row) for {left:.0f} s more")
    return ModelState(
        blocked=shut if draw.random() < 1 / 6 else None,
        waiting=draw.choice((0, 0, 1, 5, 40)),
        loaded=draw.choice((True, False, None)),
        latency=draw.choice((None, draw.uniform(0.2, 20))),
    )


def decisions() -> dict[str, Callable[[FleetState], object]]:
    """What is measured, by name."""
    known = catalog()

    def deciding(**fields: str | tuple[str, ...]) -> Callable[[FleetState], object]:
        requests = cycle([RouteRequest(**fields, urgency=urgency) for urgency in Urgency])  # type: ignore[arg-type]
        return lambda fleet: route(known, lambda urgency: fleet, next(requests), NOW)

    def preparing(fleet: FleetState) -> object:
        request = RouteRequest(target="auto", needs=requirements_for(BODY, "openai"), texts=tuple(user_texts(BODY)))
        return route(known, lambda urgency: fleet, request, NOW)

    return {
        "a decision: a role, as its chain is written": deciding(role="ace"),
        "a decision: a task, ranked by urgency": deciding(task="code_generation"),
        "a decision: the task classified by the prompt's words": deciding(target="auto", texts=(PROMPT,)),
        "the same with reading the body before it": preparing,
    }


def decided(decide: Callable[[FleetState], object], fleet_states: list[FleetState], count: int) -> tuple[float, float]:
    """Microseconds of time and CPU for one decision."""
    turns = cycle(fleet_states)
    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(count):
        decide(next(turns))
    return (time.perf_counter() - began) / count * 1e6, (time.process_time() - cpu) / count * 1e6


async def measure(count: int, repetitions: int, console: Console) -> Runs:
    """Every decision and the call, in turns."""
    named, fleet_states = decisions(), fleets()
    runs: Runs = {name: [] for name in (*named, CALL)}
    async with upstream() as url:
        for repetition in range(repetitions):
            console.print(f"[dim]{repetition + 1}/{repetitions}[/dim]", highlight=False)
            for name, decide in named.items():
                runs[name].append(decided(decide, fleet_states, count))
            rate, cpu = await turn(url(0.0), "our backend, all of complete()", count, 1)
            runs[CALL].append((1e6 / rate, cpu))
    return runs


def compare(quick: bool, console: Console) -> list[Sheet]:
    """What decisions cost beside the call."""
    runs = uvloop.run(measure(1000 if quick else 5000, 3 if quick else 9, console))
    rows = []
    for name, timings in runs.items():
        took, cpu = zip(*timings, strict=True)
        rows.append(Row(name, {"time": figure(took), "cpu": figure(cpu)}))
    columns = {"time": "time µs", "cpu": "CPU µs"}
    notes = (f"{MODELS} models, a chain of {CHAIN}, {FLEETS} states of the fleet in turn.",)
    return [Sheet("Choosing a model", columns, rows, "time", CALL, notes)]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="A thousand decisions each, three times.")
def main(as_json: bool, quick: bool) -> None:
    """Measure what choosing a model costs."""
    show(compare(quick, Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
