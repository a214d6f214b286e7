"""`openfall job list`, and ids that are typed by their first letters."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from openfall import AsyncOpenfall
from openfall.config import LoadedConfig
from openfall.producers.cli.job_list import COLUMNS
from openfall.producers.cli.render import short_id
from tests.producers.cli.conftest import Run
from tests.producers.conftest import CONFIG
from tests.producers.hold_jobs import submit_held


@pytest.fixture
def config_text() -> str:
    return CONFIG + "groups: [{name: whatsapp, match: ['whatsapp:*'], role: chat}]\n"


def submit(loaded: LoadedConfig, *ids: str, producer: str = "bot@host", **options: Any) -> None:
    async def main() -> None:
        async with AsyncOpenfall(config=loaded, producer=producer) as llm:
            for job_id in ids:
                await llm.submit("a private prompt", id=job_id, **options)

    asyncio.run(main())


def listed(openfall: Run, *options: str) -> list[str]:
    return [job["id"] for job in json.loads(openfall("job", "list", "--json", *options).stdout)]


@pytest.fixture
def jobs(loaded: LoadedConfig, openfall: Run) -> None:
    """One job of each kind: done, cancelled, held, queued."""
    submit(loaded, "done-0001", urgency="background")
    openfall("job", "cancel", "done-0001")
    (held,) = submit_held(loaded, "x", id="held-0001", urgency="background")
    assert held == "held-0001"
    submit(loaded, "tags-0001", role="tags", producer="anna@desk")
    submit(loaded, "group-001", group="whatsapp:main", urgency="batch")


def test_all_jobs_are_listed_the_newest_first_without_prompts(openfall: Run, jobs: None) -> None:
    assert listed(openfall) == ["group-001", "tags-0001", "held-0001", "done-0001"]
    shown = openfall("job", "list").stdout
    assert "cancelled" in shown
    assert "held: outage" in shown
    assert "anna@desk" in shown
    assert "private" not in shown + openfall("job", "list", "--json").stdout


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (("--state", "held"), ["held-0001"]),
        (("--state", "cancelled"), ["done-0001"]),
        (("--state", "done"), ["done-0001"]),
        (("--state", "queued"), ["group-001", "tags-0001"]),
        (("--state", "queued", "--state", "held"), ["group-001", "tags-0001", "held-0001"]),
        (("--role", "tags"), ["tags-0001"]),
        (("--model", "other"), ["tags-0001"]),
        (("--group", "whats*"), ["group-001"]),
        (("--producer", "anna@desk"), ["tags-0001"]),
        (("--producer", "bot*", "--state", "queued"), ["group-001"]),
        (("--since", "1h"), ["group-001", "tags-0001", "held-0001", "done-0001"]),
        (("--limit", "1"), ["group-001"]),
        (("--state", "answered"), []),
        (("--urgency", "batch"), ["group-001", "tags-0001"]),
        (("--id", "0001"), ["tags-0001", "held-0001", "done-0001"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_list_is_filtered_by_state_role_model_group_producer_and_age(
    openfall: Run, jobs: None, options: tuple[str, ...], ids: list[str]
) -> None:
    assert listed(openfall, *options) == ids


def test_a_list_that_is_cut_off_says_so(openfall: Run, jobs: None) -> None:
    assert "the newest 2 jobs: --before tags-0001 shows older ones" in openfall("job", "list", "--limit", "2").stderr


def test_the_next_page_begins_behind_the_last_job_of_this_one(openfall: Run, jobs: None) -> None:
    assert listed(openfall, "--limit", "2", "--before", "tags") == ["held-0001", "done-0001"]
    assert openfall("job", "list", "--before", "nothing-like-it").returncode == 2


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_has_the_first_columns_of_the_list_and_each_job_in_one_line(
    openfall: Run, jobs: None, environment: dict[str, str], width: int
) -> None:
    environment["COLUMNS"] = str(width)
    ran = openfall("job", "list")
    names, _, *rows = ran.stdout.splitlines()
    left_out = (
        ran.stderr.removeprefix("no room for ").removesuffix(": a wider terminal or --json has them\n").split(", ")
    )
    assert (*names.split(), *left_out) == COLUMNS
    assert names.split()[:4] == ["job", "state", "accepted", "role/urgency"]
    assert max(map(len, rows)) <= width
    assert len(rows) == len(json.loads(openfall("job", "list", "--json").stdout))


@pytest.mark.parametrize(
    ("option", "words"),
    [(("--state", "quued"), "Did you mean 'queued'?"), (("--role", "tag"), "Did you mean 'tags'?"),
     (("--model", "tinny"), "Did you mean 'tiny'?"), (("--since", "soon"), "not a duration"),
     (("--urgency", "bach"), "Did you mean 'batch'?")],
)  # fmt: skip
def test_a_misspelled_filter_names_the_nearest_word(openfall: Run, option: tuple[str, ...], words: str) -> None:
    ran = openfall("job", "list", *option)
    assert ran.returncode == 2
    assert words in ran.stderr


def test_an_unreadable_record_is_left_out_of_the_list(openfall: Run, jobs: None, store: Any) -> None:
    store.hset("of:job:tags-0001", "accepted", "soon")
    store.hset("of:job:group-001", "producer", b"\xff\xfe")
    assert listed(openfall) == ["group-001", "held-0001", "done-0001"]


@pytest.mark.parametrize("command", [("show",), ("why",), ("cancel",)])
def test_a_job_is_named_by_the_first_letters_of_its_id(
    openfall: Run, loaded: LoadedConfig, command: tuple[str, ...]
) -> None:
    submit(loaded, "8f21aaaa0001", "8f22aaaa0002")
    ran = openfall("job", *command, "8f21")
    assert ran.returncode == 0
    assert "8f21aaaa0001" in ran.stdout


def test_an_answer_is_awaited_by_the_first_letters_of_its_id(openfall: Run, loaded: LoadedConfig, answering) -> None:
    submit(loaded, "8f21aaaa0001")
    assert openfall("job", "wait", "8f21").stdout == "echo a private prompt\n"


def test_letters_that_begin_several_ids_name_the_candidates(openfall: Run, loaded: LoadedConfig) -> None:
    submit(loaded, "8f21aaaa0001", "8f21bbbb0002")
    for command in ("show", "why", "wait", "cancel"):
        ran = openfall("job", command, "8f21a" if command == "show" else "8f21")
        assert (ran.returncode == 0) == (command == "show")
    ran = openfall("job", "show", "8f21", "--json")
    assert ran.returncode == 2
    assert "8f21aaaa0001 (queued, chat/interactive, of bot@host), 8f21bbbb0002 (" in json.loads(ran.stdout)["error"]


def test_a_whole_id_is_its_job_although_it_begins_another_id(openfall: Run, loaded: LoadedConfig) -> None:
    submit(loaded, "abcd0000", "abcd00001111")
    assert openfall("job", "show", "abcd0000").stdout.startswith("abcd0000  queued")


@pytest.mark.parametrize("typed", ["****", "8f2?", "[8f]21", "8f\\21"])
def test_typed_letters_are_no_pattern(openfall: Run, loaded: LoadedConfig, typed: str) -> None:
    submit(loaded, "8f21aaaa0001")
    ran = openfall("job", "show", typed)
    assert ran.returncode == 2
    assert f"no job {typed}" in ran.stderr


def test_a_held_job_is_named_by_its_first_letters_among_held_jobs(openfall: Run, loaded: LoadedConfig) -> None:
    submit_held(loaded, "x", id="8f21aaaa0001", urgency="background")
    submit(loaded, "8f21bbbb0002", urgency="background")
    assert "8f21aaaa0001  held for" in openfall("held", "show", "8f21").stdout
    assert "8f21aaaa0001" in openfall("held", "export", "8f21").stdout
    assert openfall("held", "replay", "8f21").stdout == "8f21aaaa0001 is queued\n"


def test_a_prefix_is_searched_in_bounded_steps(openfall: Run, loaded: LoadedConfig, store: Any) -> None:
    submit(loaded, "8f21aaaa0001")
    store.zadd("of:jobs", {f"other:{number}": 1 for number in range(20_000)})
    before = store.info("commandstats")
    assert openfall("job", "show", "8f21").returncode == 0
    after = store.info("commandstats")
    assert after.get("cmdstat_keys") == before.get("cmdstat_keys")
    assert after["cmdstat_zscan"]["calls"] - before.get("cmdstat_zscan", {"calls": 0})["calls"] <= 8


def test_an_inbox_without_results_is_said_to_have_none(openfall: Run) -> None:
    ran = openfall("inbox", "haruka")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "inbox haruka has no results\n")


def test_an_inbox_whose_entries_have_no_moment_is_listed_beside_the_others(openfall: Run, store: Any) -> None:
    store.xadd("of:inbox:later", {"id": "x"}, id="18446744073709551614-1")
    store.xadd("of:inbox:bot", {"id": "x"}, id="1796059482000-1")
    store.set("of:inbox:text", "x")
    store.zadd("of:inboxes", dict.fromkeys(("later", "bot", "text"), 9e15))
    shown = openfall("inbox").stdout
    assert "later" in shown
    assert "bot" in shown


@pytest.mark.parametrize(
    ("job_id", "shown"),
    [
        ("8f21c6d0b7f94e0c9a51d3e2", "8f21c6d0"),
        ("c0e2aa1b41f4b6b41b84efb77bfd4557", "c0e2aa1b"),
        ("17098208a4735ba4-6799", "17098208a4735ba4-6799"),
        ("frame-120", "frame-120"),
    ],
)
def test_the_id_of_a_job_or_a_line_is_shortened_and_one_of_a_caller_is_whole(job_id: str, shown: str) -> None:
    assert short_id(job_id) == shown
