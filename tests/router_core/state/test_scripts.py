"""The scripts as libraries: complete, named by their text, and with nothing that they do not use."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from openfall.router_core.state import keys, scripts

NAMES = sorted(
    path.name.removesuffix(".lua")
    for path in (files("openfall.router_core.state") / "lua").iterdir()
    if path.name.endswith(".lua")
)


@pytest.mark.parametrize("name", NAMES)
def test_every_script_is_a_library_that_the_server_accepts(redis_url, store, name):
    script = scripts.load(name)
    assert store.execute_command("FUNCTION", "LOAD", "REPLACE", script.library) == script.function.encode()


@pytest.mark.parametrize("name", NAMES)
def test_a_script_has_room_for_20_more_of_the_200_locals_of_lua(redis_url, store, name):
    header, _, text = scripts.load(name).library.decode().partition("\n")
    more = ", ".join(f"more_{number}" for number in range(20))
    store.execute_command("FUNCTION", "LOAD", "REPLACE", f"{header}\nlocal {more} = nil\n{text}")


@pytest.mark.parametrize("name", NAMES)
def test_a_script_has_the_key_names_that_it_mentions_and_no_other(name):
    text = scripts.load(name).library.decode()
    declared = re.findall(r"^local ([A-Z_]+) = '", text, re.MULTILINE)
    assert declared == [key for key in vars(keys) if key in declared], "in the order of keys.py"
    assert all(len(re.findall(rf"\b{key}\b", text)) > 1 for key in declared)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_brings_new_data_is_refused_when_memory_is_full(name):
    script = scripts.load(name)
    assert (
        (b"allow-oom" in script.library) == (b"allow-oom" in script.text) == (name not in ("accept", "response_store"))
    )


def test_an_included_library_stands_before_its_user_and_once():
    text = scripts.load("settle").text.decode()
    functions = re.findall(r"^local function (\w+)", text, re.MULTILINE)
    assert len(functions) == len(set(functions))
    assert functions.index("enqueue") < functions.index("fall") < functions.index("finish") < functions.index("main")


def test_two_versions_of_a_script_run_on_one_server(store, monkeypatch):
    old, names = scripts.load("held_replay"), keys.with_key_names
    monkeypatch.setattr(keys, "with_key_names", lambda text: f"-- another version\n{names(text)}")
    new = scripts.load.__wrapped__("held_replay")
    for script in (old, new):
        store.execute_command("FUNCTION", "LOAD", "REPLACE", script.library)
    for script in (old, new):
        assert store.execute_command("FCALL", script.function, 0, "", '{"id":"nosuchjob"}') == [b"gone"]
