"""Garbage in Redis under a real fleet: a sample of the scenario's damages; and what it counts as kept."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from openfall.router_core.state import keys
from tests.chaos import garbage
from tests.chaos.chaos_support import ROOT, find_processes, run_environ
from tests.chaos.garbage_damages import DAMAGES, damage_key
from tests.chaos.garbage_keys import (
    KEPT,
    NOT_DAMAGED,
    PAGE,
    TRANSIENT,
    damage_rows,
    documented_keys,
    sort_keys,
)

EVERY = 151
"""Of the damages, one in this number. `make garbage` makes all of them."""


@pytest.mark.slow
def test_everything_beside_a_damaged_key_works_and_no_process_ends(short_directory: Path) -> None:
    argv = [sys.executable, "-m", "tests.chaos", "garbage", "--json", "--every", str(EVERY)]
    run = subprocess.run(argv, cwd=ROOT, env=run_environ(short_directory), capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    verdict = json.loads(run.stdout)
    assert (verdict["broken"], verdict["problems"]) == ([], [])
    figures = verdict["figures"]
    assert [figures[name] for name in garbage.FAULTS] == [[]] * len(garbage.FAULTS)
    assert figures["damages"] >= 5
    assert figures["unreadable_values"] >= 1
    assert verdict["kept"] is True
    assert find_processes(short_directory) == []


def test_every_name_of_a_key_in_the_code_is_one_that_the_scenario_damages_or_names_with_a_reason() -> None:
    patterns = documented_keys(PAGE.read_text())
    names = {pattern.name for pattern in patterns}
    assert set(NOT_DAMAGED) | set(KEPT) | set(TRANSIENT) <= names
    values = [value for value in vars(keys).values() if isinstance(value, str) and value.startswith(("of:", "rq:"))]
    assert [value for value in values if not any(name.startswith(value) for name in names)] == []
    assert len(values) > 80


def test_the_documentation_says_of_every_key_what_its_damage_costs_and_whether_it_is_noted() -> None:
    page = PAGE.read_text()
    rows = damage_rows(page)
    assert set(rows) == {pattern.name for pattern in documented_keys(page)}
    _, _, section = page.partition("### What damage to each key costs")
    assert [name for name in rows if section.count(f"| `{name}`") + section.count(f", `{name}`") != 1] == []
    assert [name for name, noted in rows.items() if noted != "yes" and not noted.startswith(("yes, ", "no: "))] == []


@pytest.mark.parametrize(("name", "example"), TRANSIENT.items())
def test_the_example_of_a_key_is_one_of_its_pattern(name: str, example: str) -> None:
    assert list(sort_keys([example.encode()], documented_keys(PAGE.read_text()))) == [name]


VALUE = '{"word": "waiting", "number": 5}'


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_each_damage_changes_a_key_of_each_type(redis_url: str, damage: str) -> None:
    with redis.Redis.from_url(redis_url) as store:
        store.set("string", VALUE, px=60_000)
        store.hset("hash", mapping={"field": VALUE})
        store.rpush("list", VALUE, "some text")
        store.sadd("set", VALUE)
        store.zadd("zset", {VALUE: 7})
        store.xadd("stream", {"field": VALUE})
        for key in ("string", "hash", "list", "set", "zset", "stream"):
            before, kind = store.dump(key), store.type(key)
            damage_key(store, key.encode(), damage, random.Random(1))
            assert store.dump(key) != before
            assert (store.type(key) == kind) is (damage not in ("another type", "gone"))


class ExpiringKeys(redis.Redis):
    """Every key expires as soon as its type was read."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        reply = super().execute_command(*args, **options)
        if args[0] == "TYPE":
            super().execute_command("DEL", args[1])
        return reply


@pytest.mark.parametrize("damage", sorted(set(DAMAGES) - {"gone"}))
def test_a_key_that_expires_while_it_is_damaged_is_written_again(redis_url: str, damage: str) -> None:
    with ExpiringKeys.from_url(redis_url) as store:
        for key, write in {
            "hash": lambda: store.hset("hash", "field", VALUE),
            "set": lambda: store.sadd("set", VALUE),
        }.items():
            write()
            damage_key(store, key.encode(), damage, random.Random(1))
            assert store.exists(key)


ROW = {"key": "of:x", "damage": "empty", "problems": []}
GOOD: dict[str, Any] = {**{fault: [] for fault in garbage.FAULTS}, "unreadable_values": 1, "earlier_jobs": 6}


@pytest.mark.parametrize(
    ("rows", "figures", "kept"),
    [
        ([ROW], {}, True),
        ([ROW | {"problems": ["chat: 500"]}], {}, False),
        *(([ROW], {fault: ["x"]}, False) for fault in garbage.FAULTS),
        ([ROW], {"earlier_jobs": 0}, False),
        ([ROW], {"unreadable_values": 0}, False),
        ([], {}, False),
    ],
)
def test_the_verdict_fails_for_each_thing_that_is_not_kept(
    rows: list[dict[str, Any]], figures: dict[str, Any], kept: bool
) -> None:
    assert garbage.judge(rows, GOOD | figures)["kept"] is kept


@pytest.mark.parametrize(
    ("key", "pattern", "place"),
    [
        ("of:paused", "of:paused", "of:paused"), ("of:job:j1", "of:job:{id}", "of:job:j1 queue"),
        ("of:page-session:ab12", "of:page-session:{digest}", "of:page-session:*"),
    ],
)  # fmt: skip
def test_a_note_names_the_key_of_a_damage(key: str, pattern: str, place: str) -> None:
    row = {"key": key, "pattern": pattern}
    assert garbage.is_noted(row, {"of:other", place})
    assert not garbage.is_noted(row, {"of:other"})
