"""What the page and `openfall top` read beside the snapshot, each at most as often as it is worth."""

from __future__ import annotations

from typing import NamedTuple

from openfall.producers.gateway_batch_status import ExplainedBatch, newest_gateway_batches
from openfall.producers.outbox_tables import OutboxStatus, fetch_outbox
from openfall.producers.page.page_snapshot import Source
from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state import keys
from openfall.router_core.state.budget_book import BudgetState, list_budgets
from openfall.router_core.state.card_memory import DAY_SECONDS, MemoryUse, fetch_card_memory
from openfall.router_core.state.card_status import CardStatus, fetch_card_status, fetch_managed_cards
from openfall.router_core.state.ledger import LedgerEntry, ledger_day, read_ledger
from openfall.router_core.state.recent_jobs import JobFilter, JobPage, list_jobs
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.refused_requests import RefusedRequests, fetch_refused
from openfall.router_core.state.server_clock import fetch_server_time
from openfall.router_core.state.subscription_plans import PlanState, list_plans

RECENT_JOBS_SHOWN = 12
BATCHES_READ = 10
PENDING_READ = 101
"""Pending notifications: one more than the page shows."""


class CardsNow(NamedTuple):
    """The cards, and the memory of each in the last `span_seconds`."""

    cards: list[CardStatus]
    memory: dict[str, list[MemoryUse]]
    span_seconds: float = DAY_SECONDS


async def _recent_jobs(link: RedisConnection, _catalog: Catalog) -> JobPage:
    return await list_jobs(link, JobFilter(), RECENT_JOBS_SHOWN)


async def _budgets(link: RedisConnection, catalog: Catalog) -> list[BudgetState]:
    return await list_budgets(link, all_budgets(catalog), await fetch_server_time(link))


async def _client_keys(link: RedisConnection, _catalog: Catalog) -> int:
    return int(await link.command("HLEN", keys.CLIENT_KEYS))


async def _plans(link: RedisConnection, catalog: Catalog) -> list[PlanState]:
    return await list_plans(link, catalog, await fetch_server_time(link))


async def _cards(link: RedisConnection, catalog: Catalog) -> CardsNow:
    return await fetch_cards_now(link, catalog, DAY_SECONDS)


async def fetch_cards_now(link: RedisConnection, catalog: Catalog, span_seconds: float) -> CardsNow:
    cards, now = await fetch_card_status(link, catalog), await fetch_server_time(link)
    memory = await fetch_card_memory(link, [card.card for card in cards], span_seconds, now)
    return CardsNow(cards, memory, span_seconds)


async def _today(link: RedisConnection, _catalog: Catalog) -> list[LedgerEntry]:
    return await read_ledger(link, [ledger_day(await fetch_server_time(link))])


async def _batches(link: RedisConnection, _catalog: Catalog) -> list[ExplainedBatch]:
    return await newest_gateway_batches(link, BATCHES_READ)


async def _outbox(link: RedisConnection, _catalog: Catalog) -> OutboxStatus:
    return await fetch_outbox(link, PENDING_READ)


async def _refused(link: RedisConnection, _catalog: Catalog) -> list[RefusedRequests]:
    return await fetch_refused(link, await fetch_server_time(link))


RECENT_JOBS = Source("jobs", _recent_jobs, every_seconds=5.0)
PLANS = Source("plans", _plans, every_seconds=10.0)
CLIENT_KEYS = Source("client keys", _client_keys, every_seconds=5.0)
"""How many there are: with one, people expect a gateway. The page itself has one, and need not read it."""
BUDGETS = Source("budgets", _budgets, every_seconds=5.0)
CARD_STATES = Source("states of cards", fetch_managed_cards, every_seconds=5.0)
CARDS = Source("cards", _cards, every_seconds=5.0)
BATCHES = Source("batches", _batches, every_seconds=5.0)
LEDGER_TODAY = Source("ledger", _today, every_seconds=10.0)
REFUSED = Source("refused", _refused, every_seconds=5.0)
OUTBOX = Source("outbox", _outbox, every_seconds=5.0)
