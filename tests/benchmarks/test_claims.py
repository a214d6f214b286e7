"""The measure of what breakers, budgets and cards cost: what is replaced in the script is there, every variant has its
row, and a cost above its promise is reported."""

from __future__ import annotations

import asyncio

import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks.claim_side import ChangedClaims
from benchmarks.claim_variants import BASE, VARIANTS, WITHOUT_BREAKERS, YARDSTICK
from benchmarks.claims import SETTLES, broken_promises, main, measure, speed
from benchmarks.table import Figure, Row
from benchmarks.yardstick import REFERENCE_SPEED, REFERENCE_US
from openfall.router_core.state import scripts
from openfall.router_core.state.redis_connection import RedisConnection


def test_a_claim_without_breakers_reads_none_and_is_otherwise_the_same(server):
    bare = ChangedClaims(RedisConnection(server.url), WITHOUT_BREAKERS).library
    whole = scripts.load("claim").library.decode()
    assert 0 < len(whole) - len(bare) < 100
    assert "'HGETALL', BLOCKED" not in bare


def test_the_fixed_work_is_added_to_the_claims_of_its_own_row_only(server):
    link = RedisConnection(server.url)
    for variant in VARIANTS:
        text = ChangedClaims(link, variant.changes).library
        assert text.count("'benchmark:work'") == (2 if variant is YARDSTICK else 0)


def test_without_valgrind_the_count_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    run = CliRunner().invoke(main, ["--instructions"])
    assert (run.exit_code, run.exception.__class__) == (1, SystemExit)
    assert "Error: valgrind is not installed" in run.output


@pytest.mark.slow
def test_every_variant_is_measured(server):
    *claims, settles = asyncio.run(measure((server.url, f"{server.url}?db=1"), 1, 12, Console(quiet=True)))
    assert [[row.name for row in sheet.rows] for sheet in claims] == [[BASE.name, *(v.name for v in VARIANTS)]] * 2
    assert [row.name for row in settles.rows] == list(SETTLES)
    for sheet in (*claims, settles):
        assert all(row.figures["usec"].median > 0 for row in sheet.rows)
        assert all(row.figures["more"] and row.figures["scaled"] for row in sheet.rows if row.name != BASE.name)


@pytest.mark.parametrize(
    ("name", "lowest", "broken"),
    [("three budgets", 15.1, 1), ("three budgets", 15.0, 0), ("models on cards", 10.1, 1), ("three keys", 99.0, 0)],
)
def test_a_promise_is_broken_only_if_the_whole_interval_is_above_it(name, lowest, broken):
    row = Row(name, {"scaled": Figure(lowest + 2, lowest, lowest + 4, 9)})
    assert len(broken_promises([row])) == broken


def test_the_speed_of_this_machine_is_that_of_the_fixed_work():
    row = Row(YARDSTICK.name, {"more": Figure(2 * REFERENCE_US, 1, 99, 9)})
    assert f"{REFERENCE_SPEED // 2:,} in a µs here, {REFERENCE_SPEED:,} on the reference machine" in speed([row])
