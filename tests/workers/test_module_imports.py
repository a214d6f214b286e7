"""The garbage collector rests while modules are imported, and never longer."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from openfall.workers.module_imports import no_garbage_collection


@pytest.fixture(autouse=True)
def _unchanged() -> Iterator[None]:
    """The collections of the other tests are as before."""
    yield
    gc.enable()


def test_no_collection_runs_inside_the_block_and_the_next_ones_skip_what_it_created() -> None:
    with no_garbage_collection():
        assert not gc.isenabled()
        created = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert not any(kept is created for kept in gc.get_objects())


def test_the_collector_runs_again_after_an_import_that_fails() -> None:
    with pytest.raises(ModuleNotFoundError), no_garbage_collection():
        import openfall.no_such_module  # noqa: F401
    assert gc.isenabled()
