"""Who carries out what a worker claims: those who call the models of a pool, or those who look after what fell."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from router_core.catalog import Catalog
from router_core.envelope import unpack_result
from router_core.fleet import Fleet
from router_core.job import Urgency
from router_core.result import Result
from router_core.state import keys
from router_core.state.errors import StoreUnreachable
from router_core.state.link import Link
from workers.attempt import Carrier
from workers.backends.base import CompletionBackend
from workers.backends.registry import open_backend
from workers.closing import close_ended
from workers.crew import Crew
from workers.open_fall import OpenFall
from workers.post_office.office import PostOffice, Terms
from workers.probing import Prober
from workers.releasing import RELEASE_EVERY, Releaser
from workers.watch import Watch

POST_EVERY = 0.5
CLOSE_EVERY = 2.0

Round = tuple[float, Callable[[], Awaitable[None]]]
"""Something that repeats beside the calls, and after how many seconds."""


@dataclass(frozen=True, slots=True)
class Station:
    """A crew, the rounds that it adds to those of every worker, and the backends that load models by themselves."""

    crew: Crew
    rounds: Mapping[str, Round] = field(default_factory=dict)
    hosts: Mapping[str, CompletionBackend] = field(default_factory=dict)


def calling(watch: Watch, names: tuple[str, ...], stack: contextlib.AsyncExitStack) -> Station:
    """Those who call the models at these backends; `stack` closes what they open."""
    catalog = watch.catalog
    backends = {name: open_backend(catalog.backends[name]) for name in names}
    for backend in backends.values():
        stack.push_async_callback(backend.close)
    crew = Crew(
        Carrier(catalog=catalog, backends=backends, fleet=watch.fleet, chance=random.random),
        Prober(link=watch.link, catalog=catalog, backends=backends, chance=random.random),
        watch.troubled.set,
    )
    return Station(crew, hosts=_hosts(catalog, backends))


def degrading(watch: Watch, terms: Terms, stack: contextlib.AsyncExitStack) -> Station:
    """Those who look after what fell: degrade, log, notify, hold; let it go again; and post what is to be told."""

    async def last_result(key: str) -> Result | None:
        return await _last_result(watch.link, key)

    async def fleet(urgency: Urgency, since: float) -> Fleet:
        await watch.since(since)  # what was seen before its fall says that all is well, and would hold that against it
        return watch.fleet(urgency)

    async def close_incidents() -> None:
        if watch.last is not None:
            await close_ended(watch.link, watch.last)

    link, catalog = watch.link, watch.catalog
    office = PostOffice(link, terms, random.random)
    stack.push_async_callback(office.close)
    carrier = OpenFall(catalog=catalog, fleet=fleet, last_result=last_result, notify=terms.notifiers)
    prober = Prober(link=link, catalog=catalog, backends={}, chance=random.random)
    rounds: dict[str, Round] = {
        "release": (RELEASE_EVERY, Releaser(link, watch).round),
        "outbox": (POST_EVERY, office.round),
        "closing": (CLOSE_EVERY, close_incidents),
    }
    return Station(Crew(carrier, prober, watch.troubled.set), rounds)


async def _last_result(link: Link, key: str) -> Result | None:
    try:
        told = await link.command("GET", keys.LAST + key)
    except StoreUnreachable:  # no fault of the job's: the next remedy of its list will do
        return None
    return None if told is None else unpack_result("", told)


def _hosts(catalog: Catalog, backends: Mapping[str, CompletionBackend]) -> dict[str, CompletionBackend]:
    return {name: backend for name, backend in backends.items() if catalog.backends[name].protocol == "ollama"}
