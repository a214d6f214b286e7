"""Graphics cards whose models take turns, and models that wait for their card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from openfall.producers.card_wait_reason import CardLoad, describe_content
from openfall.producers.held_release_text import EXPECTED_BY_CARD
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause, FleetHealth, health_of_wait
from openfall.producers.page.sections.model_calls import ModelCalls
from openfall.producers.page.sources import CARD_STATES
from openfall.producers.runbook import RunbookSection
from openfall.producers.shell_command import shell_command
from openfall.router_core.placement.thrashing import WINDOW_SECONDS, is_thrashing
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.card_status import state_on_card
from openfall.router_core.state.fleet_status import QueueStatus
from openfall.router_core.state.keys import model_of
from openfall.router_core.vocabulary import LoadState, Urgency

MIN_TURNS = 4
"""Fewer loads of a thrashing card are no turns: one load may be as long."""
MAX_NAMED = 3
_RANKS: Mapping[Urgency | None, int] = {urgency: number for number, urgency in enumerate((*Urgency, None))}


def card_causes(snapshot: PageSnapshot) -> Iterator[Cause]:
    """The cards that keep jobs waiting. Of a card whose models take turns only that is said."""
    cards: Mapping[str, CardState] = snapshot.sources.get(CARD_STATES.name, {})
    in_turns = set()
    for name, state in cards.items():
        turns = [seconds for began_at, seconds in state.loads if snapshot.now - began_at <= WINDOW_SECONDS]
        if len(turns) >= MIN_TURNS and is_thrashing(state.loads, snapshot.now):
            in_turns.add(name)
            yield _of_turns(name, turns, snapshot)
    blocks = ModelCalls(snapshot).blocks
    loads = blocks.loads
    for alias, queue in _late_queues(snapshot).items():
        if alias not in loads or loads[alias].card in in_turns or queue.urgency is None:
            continue
        if blocks.queue_block(alias, queue.urgency, snapshot.catalog) is None:  # else they do not wait for its card
            yield _of_wait(alias, queue.urgency, loads[alias], cards[loads[alias].card], snapshot)


def _late_queues(snapshot: PageSnapshot) -> dict[str, QueueStatus]:
    """The models with jobs that wait for longer than their target, each with its most urgent such queue."""
    targets = {urgency: policy.start_within for urgency, policy in snapshot.catalog.urgency.items()}
    late: dict[str, QueueStatus] = {}
    for queue in sorted((queue for queue in snapshot.status.queues if queue.oldest_seconds is not None), key=_rank):
        urgency = queue.urgency
        if urgency is not None and (queue.oldest_seconds or 0.0) > targets[urgency]:
            late.setdefault(model_of(queue.name), queue)
    return late


def _of_wait(alias: str, urgency: Urgency, load: CardLoad, state: CardState, snapshot: PageSnapshot) -> Cause:
    """A model that is not in the memory of its card."""
    at, card = state_on_card(state, alias, snapshot.now, in_use=False), load.card
    section, runbook = "cards", RunbookSection.CARD_WAIT
    if at.load_state is LoadState.ERROR:
        text, advice = f"The card {card} could not load {alias}: {at.why}", "It is tried again"
        until = state.refused[alias].until
        return Cause(text=text, advice=advice, until=until, until_text="in", section=section, runbook=runbook)
    if alias in state.too_large:
        needed_gb, free_gb = state.too_large[alias]
        text = f"{alias} waits for the card {card}: it needs {needed_gb:.1f} GB, and others leave {free_gb:.1f} GB"
        advice = "Unload or unpin what is in its memory, or end the programs beside openfall that use it"
        return Cause(text=text, advice=advice, section=section, runbook=runbook)
    waiting = Counter[str]()
    levels = list(Urgency)[: list(Urgency).index(urgency) + 1]
    for model, queue in _waiting_on(card, snapshot):
        waiting[model] += queue.waiting if queue.urgency in levels else 0
    loads_it = at.load_state is LoadState.LOADING
    content = "is loading it" if loads_it else describe_content(state, waiting)
    advice = "Nothing is broken: its jobs start when it is loaded"
    text = f"{alias} waits for the card {card}, which {content}"
    until_text = EXPECTED_BY_CARD
    return Cause(
        text=text,
        advice=advice,
        until=load.starts.get(urgency),
        until_text=until_text,
        section=section,
        runbook=runbook,
    )


def _of_turns(card: str, turns: Sequence[float], snapshot: PageSnapshot) -> Cause:
    loads = f"loaded models {len(turns)} times in 10 minutes, {sum(turns):.0f} s in all"
    waiting = _waiting_on(card, snapshot)
    text = f"The card {card} {loads}: they take turns{_waits(waiting)}"
    sizes = {alias: snapshot.catalog.models[alias].vram_gb or 0.0 for alias in _models_on(card, snapshot)}
    matters = list(dict.fromkeys([*(model for model, _ in waiting), *sizes]))[:MAX_NAMED]
    return Cause(
        text=text + _misfit(card, sizes, snapshot),
        health=_worst_health(waiting, snapshot),
        is_wait=True,
        advice=(
            "Without a pin they go on so, and held jobs may be held again. Pin the model that matters most: jobs for "
            "the others then wait until it is unpinned"
        ),
        remedy=", or ".join(shell_command("openfall models pin", model) for model in matters),
        action="pin-model",
        buttons=tuple((model, f"Pin {model}") for model in matters),
        section="cards",
        runbook=RunbookSection.CARD_SWAPS,
    )


def _waits(waiting: Sequence[tuple[str, QueueStatus]]) -> str:
    """How many jobs wait for each model of a card."""
    parts = [f"{queue.waiting:,} {queue.urgency} for {model}" for model, queue in waiting[:MAX_NAMED]]
    rest = sum(queue.waiting for _, queue in waiting[MAX_NAMED:])
    parts += [f"{rest:,} more"] if rest else []
    return f". Jobs wait: {', '.join(parts)}" if parts else ""


def _worst_health(waiting: Sequence[tuple[str, QueueStatus]], snapshot: PageSnapshot) -> FleetHealth:
    """As bad as the lateness that it causes."""
    policies = snapshot.catalog.urgency
    levels = {
        health_of_wait(queue.urgency, queue.oldest_seconds or 0.0, policies[queue.urgency].start_within)
        for _, queue in waiting
        if queue.urgency is not None
    }
    return FleetHealth.FAILING if FleetHealth.FAILING in levels else FleetHealth.IMPAIRED


def _misfit(card: str, sizes: Mapping[str, float], snapshot: PageSnapshot) -> str:
    """That the models of a card do not fit together."""
    total = sum(snapshot.catalog.backends[at].vram_gb or 0.0 for at in _backends_on(card, snapshot)[:1])
    if not total or sum(sizes.values()) <= total:
        return ""
    listed = " and ".join(f"{alias} ({gb:g} GB)" for alias, gb in list(sizes.items())[:MAX_NAMED])
    return f". {listed} do not fit together into its {total:g} GB"


def _backends_on(card: str, snapshot: PageSnapshot) -> list[str]:
    return [name for name in snapshot.catalog.backends if snapshot.catalog.card_of(name) == card]


def _models_on(card: str, snapshot: PageSnapshot) -> list[str]:
    at = set(_backends_on(card, snapshot))
    return [alias for alias, spec in snapshot.catalog.models.items() if not at.isdisjoint(spec.backends)]


def _waiting_on(card: str, snapshot: PageSnapshot) -> list[tuple[str, QueueStatus]]:
    """The models of a card with their queues in which jobs wait: the most urgent first, then the longest wait."""
    on_card = _models_on(card, snapshot)
    ranked = sorted((queue for queue in snapshot.status.queues if queue.urgency and queue.waiting), key=_rank)
    rows = ((model_of(queue.name), queue) for queue in ranked)
    return [row for row in rows if row[0] in on_card]


def _rank(queue: QueueStatus) -> tuple[int, float]:
    return _RANKS[queue.urgency], -(queue.oldest_seconds or 0.0)
