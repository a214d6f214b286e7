"""`openfall queues`: lists the queues; pauses and resumes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import click

from openfall.producers.cli.options import common_options, listing_group, with_client, with_operator
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import echo, show_json, wants_json
from openfall.producers.duration_text import format_age
from openfall.producers.operations.queue_pause import pause_queues, resume_queues
from openfall.router_core.state.fleet_status import QueueStatus, fetch_status

COLUMNS = ("queue", "waiting", "oldest", "started", "later", "")


@listing_group
@common_options
def queues() -> None:
    """List the queues. `pause NAME` stops workers from claiming its jobs, `resume NAME` ends that.

    NAME may be a pattern: 'gpu.*', '*.batch'.
    """
    status = with_client(lambda llm: fetch_status(llm.store.connection))
    if wants_json():
        show_json([asdict(queue) for queue in status.queues])
    else:
        show_table(COLUMNS, queue_rows(status.queues))


@queues.command(short_help="Stop claims from a queue.")
@click.argument("name")
@click.option("--reason", default="", help="A note for other operators.")
@common_options
def pause(name: str, reason: str) -> None:
    """Stop claims from a queue, or from all that match a pattern. The queue still accepts jobs."""
    changes = with_operator(lambda operator: pause_queues(operator, name, reason))
    _show_changes(changes, "is paused", "was paused already")


@queues.command(short_help="Allow claims again.")
@click.argument("name")
@common_options
def resume(name: str) -> None:
    """Allow claims from a paused queue again, or from all that match a pattern."""
    changes = with_operator(lambda operator: resume_queues(operator, name))
    _show_changes(changes, "is resumed", "was not paused")


def _show_changes(changes: dict[str, bool], done: str, unchanged: str) -> None:
    if wants_json():
        show_json([{"queue": queue, "changed": changed} for queue, changed in changes.items()])
        return
    for queue, changed in changes.items():
        echo(f"{queue} {done if changed else unchanged}")


def queue_rows(queues: tuple[QueueStatus, ...]) -> Iterator[tuple[object, ...]]:
    """A row of `COLUMNS` for each queue, the most urgent first."""
    order = ("interactive", "background", "batch")
    known = sorted(queues, key=lambda queue: (order.index(queue.urgency) if queue.urgency else 9, queue.name))
    for queue in known:
        paused = "paused" if queue.paused else ""
        yield queue.name, queue.waiting, format_age(queue.oldest_seconds), queue.started, queue.scheduled, paused
