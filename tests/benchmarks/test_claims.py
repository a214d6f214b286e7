"""The measure of what breakers, budgets and cards cost: what is cut from the script is there, every variant has its
row, and a cost above its promise is reported."""

from __future__ import annotations

import asyncio

import pytest
from rich.console import Console

from benchmarks.claim_variants import BASE, VARIANTS, BareLink
from benchmarks.claims import SETTLES, broken_promises, measure
from benchmarks.table import Figure, Row
from openfall.router_core.state import scripts
from openfall.router_core.state.redis_connection import RedisConnection


def test_a_claim_without_breakers_reads_none_and_is_otherwise_the_same(server):
    bare = BareLink(RedisConnection(server.url)).library
    whole = scripts.load("claim").library.decode()
    assert 0 < len(whole) - len(bare) < 100
    assert "'HGETALL', BLOCKED" not in bare


@pytest.mark.slow
def test_every_variant_is_measured(server):
    *claims, settles = asyncio.run(measure((server.url, f"{server.url}?db=1"), 1, 12, Console(quiet=True)))
    assert [[row.name for row in sheet.rows] for sheet in claims] == [[BASE.name, *(v.name for v in VARIANTS)]] * 2
    assert [row.name for row in settles.rows] == list(SETTLES)
    for sheet in (*claims, settles):
        assert all(row.figures["usec"].median > 0 for row in sheet.rows)
        assert all(row.figures["more"] for row in sheet.rows if row.name != BASE.name)


@pytest.mark.parametrize(
    ("name", "lowest", "broken"),
    [("three budgets", 15.1, 1), ("three budgets", 15.0, 0), ("models on cards", 10.1, 1), ("three keys", 99.0, 0)],
)
def test_a_promise_is_broken_only_if_the_whole_interval_is_above_it(name, lowest, broken):
    row = Row(name, {"more": Figure(lowest + 2, lowest, lowest + 4, 9)})
    assert len(broken_promises([row])) == broken
