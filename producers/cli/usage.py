"""`openfall usage`: calls, tokens and their cost, by model, backend, group, role, producer, day or month."""

from __future__ import annotations

from dataclasses import asdict

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.spend import days_option
from openfall.producers.cli.tables import show
from openfall.producers.client import AsyncOpenfall
from openfall.producers.money_tables import usage_table
from openfall.router_core.state.ledger import last_days
from openfall.router_core.state.ledger_sums import UsageKey, UsageRow, fetch_usage

KEYS = ("model", "backend", "group", "role", "producer", "day", "month")


@click.command()
@click.option("--by", type=click.Choice(KEYS), default="model", show_default=True, help="Group rows by this.")
@days_option
@common_options
def usage(by: str, days: int) -> None:
    """Show calls, tokens and their cost, by model, backend, group, role, producer, day or month.

    Every attempt counts as a call, and so do health prompts of openfall itself (`probes` in --json). `fell back` and
    `left home` are as in `openfall spend`. A producer is a program, or a key of the gateway; `*` sums up those beyond
    100 a day. Half of the calls are below `p50`, and 95 % below `p95`: estimates of the time, and of the known cost.
    `unconfirmed` may or may not have been billed. `saved` is what they cost less than at live prices. `-`: not known,
    or not counted by role and producer. --json has integers of nanodollars (`nusd`), and counts the calls of unknown
    cost as `unpriced`.
    """

    async def fetch(llm: AsyncOpenfall) -> list[UsageRow]:
        link = llm.store.connection
        return await fetch_usage(link, last_days(await llm.store.server_time(), days), UsageKey(by))

    rows = with_client(fetch)
    show(usage_table(rows, UsageKey(by)), [asdict(row) for row in rows])
