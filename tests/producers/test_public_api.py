"""The names that `openfall` exports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import openfall
from openfall.router_core.state import scripts
from openfall.router_core.vocabulary import Urgency


def public_methods(client: type) -> set[str]:
    return {name for name in vars(client) if not name.startswith("_")} - {"store"}


@pytest.mark.parametrize("name", openfall.__all__)
def test_every_exported_name_exists(name: str) -> None:
    assert getattr(openfall, name)


def test_a_notebook_completes_every_exported_name() -> None:
    assert set(openfall.__all__) <= set(dir(openfall))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'openfal'"):
        openfall.openfal  # noqa: B018


def test_both_clients_have_the_same_methods() -> None:
    methods = public_methods(openfall.AsyncOpenfall)
    assert public_methods(openfall.Openfall) == methods
    assert len(methods) <= 14


@pytest.mark.parametrize("client", [openfall.Openfall, openfall.AsyncOpenfall])
def test_every_public_method_has_a_docstring(client: type) -> None:
    assert [name for name in public_methods(client) if not getattr(client, name).__doc__] == []


def test_not_finished_is_a_timeout_error() -> None:
    with pytest.raises(TimeoutError, match=r"job 8f21 continues\. Its answer, later: openfall job wait 8f21"):
        raise openfall.StillQueued("8f21")


def test_a_type_checker_knows_every_event_and_every_urgency() -> None:
    lua = Path(scripts.__file__).with_name("lua")
    events = {name for path in lua.rglob("*.lua") for name in re.findall(r"[{ ]event = '(\w+)'", path.read_text())}
    known = {name for kind in get_args(openfall.StreamEvent) for name in get_args(get_type_hints(kind)["event"])}
    assert {"queued", "fallen", "held", "put_back"} <= events <= known
    hint = get_type_hints(openfall.SubmitOptions)["urgency"]
    values = {value for part in get_args(hint) for value in get_args(part)}
    assert values == set(Urgency)
    assert str not in get_args(hint)
