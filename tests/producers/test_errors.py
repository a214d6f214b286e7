"""The exceptions that a program sees: exported, documented, with one base class, and whole after pickling."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
import re
import traceback
from pathlib import Path

import pytest

import openfall
from openfall.config.errors import ConfigError, ConfigProblem
from openfall.producers.errors import BatchFileError, OutputWriteError
from openfall.producers.setup.stack_files import InitRefused
from openfall.router_core.catalog.catalog_errors import AmbiguousName
from openfall.router_core.state.errors import AmbiguousId
from openfall.router_core.state.redis_error_remedies import translate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
PACKAGES = ("openfall.config", "openfall.producers", "openfall.router_core")

PROGRAMS = ("openfall.producers.cli", "openfall.producers.gateway", "openfall.producers.page")
"""They use the client and handle their own errors."""

OF_COMMANDS_ALONE = {AmbiguousId, BatchFileError, InitRefused, OutputWriteError}
"""Errors that only the command line raises."""

INTERNAL = {
    "InterpolationError", "JsonTooLarge", "CatalogError", "NothingFits", "SentinelTrouble", "Demoted", "EqualRequests",
    "UnreadConversation",
}  # fmt: skip
"""Exceptions that another one replaces before a caller sees them."""


def documented() -> dict[str, str]:
    """What to do, by the name of the exception."""
    table = PAGE.read_text("utf-8").partition("## What a result says")[0]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*)(?: \(an? `\w+`\))? \| .+ \| (.+?) \|$", table, re.M)
    return {name: remedy for names, remedy in rows for name in re.findall(r"`(\w+)`", names)}


def subclasses(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind, *(below for child in kind.__subclasses__() for below in subclasses(child))}


def errors() -> list[openfall.OpenfallError]:
    """One of every exported exception that is raised itself."""
    wrong = ConfigProblem(Path("openfall.yaml"), 3, "roles", "unknown model", "Did you mean tiny?")
    return [
        openfall.BadRequest("`role` must be text"),
        openfall.PromptTooLarge(70_000, 64_000),
        openfall.RequestTooComplex("is nested more than 100 levels deep", "tools[0]"),
        openfall.NoModel("no model can be called now"),
        openfall.NoEmbeddings("job-000005", "every call failed"),
        openfall.StillQueued("job-000001"),
        openfall.UnknownName("role", "dialog", ["dialogue"]),
        AmbiguousName("model", "claude", ["opus", "sonnet"]),
        ConfigError([wrong]),
        openfall.NoRedis("nothing runs here"),
        openfall.InvalidOperation("this stream belongs to another process"),
        openfall.ClientClosed(),
        translate(ConnectionError("refused"), "redis://here"),
        openfall.StoreRefused("wrong password"),
        openfall.UnsuitableRedis("no job is accepted by Redis at here: the append-only file is off"),
        openfall.StoreFull("no memory"),
        openfall.QueueFull("gpu.tiny.batch", 8, 4, 2),
        openfall.MemoryPressure("90 % of maxmemory"),
        openfall.NotConfirmed("job-000004", (1, 0), 1, 5.0),
        openfall.DeadlinePassed("it has passed"),
        openfall.IdempotencyConflict("key-1", "job-000002"),
        openfall.UnknownJob("job-000003"),
        openfall.LostJob("job-000003"),
        openfall.UnreadableEnvelope("schema 9"),
    ]


def test_every_error_of_the_package_has_the_base_class_and_is_exported() -> None:
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    ours = {kind for kind in subclasses(Exception) if kind.__module__.startswith(PACKAGES)}
    ours -= {kind for kind in ours if kind.__module__.startswith(PROGRAMS)}
    missing = {kind for kind in ours - OF_COMMANDS_ALONE if kind.__name__ not in INTERNAL and kind.__name__[0] != "_"}
    assert missing == set(), "an exported error has the module `openfall`"
    public = {kind for kind in subclasses(openfall.OpenfallError) if kind.__module__ == "openfall"}
    assert len(public) > 20
    for kind in public:
        assert getattr(openfall, kind.__name__) is kind


def test_a_traceback_names_an_exported_error_as_a_program_imports_it() -> None:
    for error in errors():
        assert traceback.format_exception_only(error)[0].startswith(f"openfall.{type(error).__name__}: ")


def test_an_error_of_a_program_with_the_name_of_an_exported_one_keeps_its_own_module() -> None:
    kind = type("NoModel", (openfall.NoModel,), {"__module__": "bot.errors"})
    assert kind.__module__ == "bot.errors"


def test_the_page_of_errors_has_every_exported_exception_with_its_remedy() -> None:
    exported = [getattr(openfall, name) for name in openfall.__all__]
    kinds = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Exception)}
    bases = {openfall.OpenfallError, openfall.ProducerError, openfall.StoreError, openfall.Backpressure}
    assert documented() == {kind.__name__: kind.remedy for kind in kinds - bases}


def test_the_examples_of_these_tests_are_all_documented_errors() -> None:
    names = {type(error).__name__ for error in errors()}
    assert names == set(documented())


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("clone", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy], ids=["pickle", "copy"])
def test_an_error_keeps_its_message_and_attributes_when_it_is_pickled(error, clone) -> None:
    error.job_id = error.job_id or "job-000004"
    error.__cause__ = ConnectionResetError("it broke")
    again = clone(error)
    assert type(again) is type(error)
    assert (str(again), again.args) == (str(error), error.args)
    assert (again.job_id, again.remedy, again.cause) == (error.job_id, error.remedy, "it broke")
    own = {name: value for name, value in vars(error).items() if name != "_cause"}
    assert {name: vars(again)[name] for name in own} == own
    assert again.remedy


def test_an_error_without_another_behind_it_has_no_cause() -> None:
    assert openfall.BadRequest("x").cause == ""
    assert openfall.BadRequest("x").job_id is None
