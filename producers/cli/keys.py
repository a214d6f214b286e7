"""`openfall keys`: the keys with which programs call the HTTP gateway."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from openfall.producers.cli.options import add_options, common_options, listing_group, with_client, with_operator
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import echo, print_line, show_json, show_outcome, wants_json
from openfall.producers.client import AsyncOpenfall
from openfall.producers.duration_text import format_time
from openfall.producers.operations.key_admin import create_key, revoke_key
from openfall.producers.refused_table import refused_table
from openfall.router_core.state.client_keys import ClientKey, fetch_keys
from openfall.router_core.state.refused_requests import RefusedRequests, fetch_refused

COLUMNS = ("key", "created", "group", "urgency", "may ask for", "a minute", "at once", "page", "")

_RIGHTS = add_options(
    click.option("-g", "--group", help="Group of its jobs, such as discord:main."),
    click.option("-u", "--urgency", type=click.Choice(["interactive", "background", "batch"]), help="Default urgency."),
    click.option(
        "--name",
        "names",
        multiple=True,
        metavar="NAME",
        help="A role, task or model that it may ask for. May be repeated. Default: all.",
    ),
    click.option("--per-minute", type=click.IntRange(min=1), help="Maximum requests a minute."),
    click.option("--in-flight", type=click.IntRange(min=1), help="Maximum concurrent requests."),
    click.option(
        "--canned-reply", is_flag=True, help="It gets a canned reply while no model can answer, not an error."
    ),
    click.option(
        "--keepalive",
        type=click.Choice(["comment", "chunk", "off"]),
        default="comment",
        help="How a stream stays open while nothing is written. `chunk`: for clients that read no comments.",
    ),
    click.option("--webhook", metavar="URL", help="URL that receives the end of its batches and background Responses."),
    click.option(
        "--page", type=click.Choice(["read", "act"]), help="It opens the operator's page: to read, or to act as well."
    ),
    click.option("--admin", is_flag=True, help="It sees and cancels the jobs of every key, and may act on the page."),
)


@listing_group
@common_options
def keys() -> None:
    """List the keys of the HTTP gateway. `new NAME` creates one, `revoke NAME` ends one, `refused` lists
    what was refused to them."""
    _list()


@keys.command("list", short_help="List the keys.")
@common_options
def list_keys() -> None:
    """List the keys, and what each may do."""
    _list()


@keys.command(short_help="List the requests that were refused today, by key.")
@common_options
def refused() -> None:
    """List the requests that the gateway refused today (UTC), by key and cause, and what helps.

    `no known key`: they had none, or an unknown one. `gateway without keys`: no key is demanded. `page without a key`:
    they came from the page.
    """

    async def fetch(llm: AsyncOpenfall) -> tuple[float, list[RefusedRequests]]:
        now = await llm.store.server_time()
        return now, await fetch_refused(llm.store.connection, now)

    now, rows = with_client(fetch)
    shown = refused_table(rows, now)
    if wants_json():
        show_json([asdict(row) for row in rows])
    elif shown.rows:
        show_table(shown.columns, shown.rows)
    else:
        echo(shown.if_empty)


@keys.command(short_help="Create a key, and print it once.")
@click.argument("name")
@_RIGHTS
@common_options
def new(name: str, **rights: Any) -> None:
    """Create a key and print it once: only its SHA-256 is kept. NAME is the producer of its jobs.

    Gateways know it within 2 seconds.
    """
    secret, key = with_operator(lambda operator: create_key(operator, name, **rights))
    try:
        if wants_json():
            show_json({**_row_json(key), "key": secret})
        else:
            echo(secret)
        sys.stdout.flush()
    except OSError:
        print_line(f"the key {name!r} is created, and lost: run `openfall keys revoke {name}`, then create it again")
        raise
    if not wants_json():
        print_line(
            f"This is the key {name!r}. It is shown only now: send it as `Authorization: Bearer {secret[:6]}...`. "
            "Gateways take it within 2 seconds."
        )


@keys.command(short_help="Revoke a key.")
@click.argument("name")
@common_options
def revoke(name: str) -> None:
    """End a key. Gateways refuse it within 2 seconds; its accepted jobs go on."""
    with_operator(lambda operator: revoke_key(operator, name))
    show_outcome(f"the key {name!r} is revoked", {"name": name, "revoked": True})


def _list() -> None:
    ring = with_client(lambda llm: fetch_keys(llm.store.connection))
    known = sorted(ring.by_digest.values(), key=lambda key: key.name)
    if wants_json():
        show_json([*map(_row_json, known), *({"name": name, "unreadable": True} for name in ring.unreadable)])
        return
    if known:
        show_table(COLUMNS, _rows(known))
    if ring.unreadable:
        print_line(
            f"Keys that cannot be read, and open nothing: {', '.join(ring.unreadable)}. Every caller needs a key."
        )
        print_line("Make each again: `openfall keys revoke NAME`, then `openfall keys new NAME`")
    elif not known:
        echo("no keys: a gateway on this machine serves every caller. `openfall keys new NAME` creates one")


def _rows(known: list[ClientKey]) -> Iterator[tuple[object, ...]]:
    for key in known:
        names = ", ".join(key.names) or "everything"
        admin = "admin" if key.admin else ""
        limits = (key.per_minute or "-", key.in_flight or "-", key.page_right or "-")
        yield key.name, format_time(key.created_at), key.group or "-", key.urgency or "-", names, *limits, admin


def _row_json(key: ClientKey) -> dict[str, Any]:
    return key.model_dump(mode="json", exclude={"digest"})
