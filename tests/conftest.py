"""A real Valkey server for every test that asks for one: started once a session, emptied before each test."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import redis
from _pytest.assertion.rewrite import PYC_TAIL, _read_pyc, _rewrite_test, _write_pyc, assertstate_key, get_cache_dir
from coverage import Coverage
from hypothesis import settings

from tests.fork_server import ForkServer
from tests.valkey_server import MAX_MEMORY_BYTES, Server, temporary_server

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Run in the background of a shell: whatever we start would inherit that, and tests of Ctrl-C would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # the same under nohup; a hangup still ends no test
    signal.signal(signal.SIGHUP, lambda *_: None)

settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("explore" if os.environ.get("OPENFALL_EXPLORE") else "fixed")
"""In the gate Hypothesis runs the same examples each time. `make explore` lets it search freely."""

os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("root.pem"))
os.environ.pop("SSL_CERT_DIR", None)
"""One root certificate that is trusted. No test calls a public server, and each process that a test starts would read
the 140 of certifi and of the system: a twelfth of the start of a worker."""

MEASURED = Path(__file__).parent / "router_core"
"""Coverage is measured while these tests run: each decision has a test of its own. The tracer costs the others a
third of their time, and the collection half of it."""


def pytest_configure(config: pytest.Config) -> None:
    """Programs of openfall fork from a process that imports them while a worker of xdist collects the tests."""
    server = ForkServer()
    server.install()
    config.add_cleanup(server.close)
    if hasattr(config, "workerinput"):
        server.launch()
    else:
        config.pluginmanager.register(EarlyFailures(config))


class EarlyFailures:
    """Prints each failure when it happens. pytest prints them at its end, which a stopped run does not reach."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and (terminal := self._plugins.getplugin("terminalreporter")) is not None:
            terminal.write_line(f"\nFAILED {report.nodeid} ({report.when})\n{report.longreprtext}")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is collected stays until the end: no search for garbage looks at it, now or later."""
    gc.disable()
    try:
        pause_coverage(session.config)
        rewrite_share(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure the coverage of a test of the decision modules that has fixed values: examples that Hypothesis draws
    may change with its version."""
    coverage = item.config.pluginmanager.getplugin("_cov")
    if coverage is None or not is_measured(item):
        return (yield)
    coverage.cov_controller.resume()
    try:
        return (yield)
    finally:
        coverage.cov_controller.pause()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each worker of xdist starts with some of the slow files. They wait more than they work, so the other tests run
    beside them, and none of them is left to the end. A file stays whole: its tests share what its fixtures start."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    slow: dict[Path, list[pytest.Item]] = {item.path: [] for item in items if item.get_closest_marker("slow")}
    others: list[pytest.Item] = []
    for item in items:
        slow.get(item.path, others).append(item)
    items[:] = deal(list(slow.values()), others, workers)


def deal(files: list[list[pytest.Item]], others: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """The order in which `--dist worksteal`, which cuts it into one equal part for each worker, gives each some files
    to start with."""
    order: list[pytest.Item] = []
    total, rest = sum(map(len, files)) + len(others), iter(others)
    for number in range(workers):
        first = [item for file in files[number::workers] for item in file]
        size = (total - len(order)) // (workers - number)
        order += [*first, *itertools.islice(rest, max(0, size - len(first)))]
    return order + list(rest)


def pause_coverage(config: pytest.Config) -> None:
    """Measure what the import of each decision module runs, and after that only measured tests."""
    coverage = config.pluginmanager.getplugin("_cov")
    if coverage is None:
        return
    root = MEASURED.parents[1]
    for path in sorted((root / "router_core").rglob("*.py")):
        name = ".".join(("openfall", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        if not name.startswith("openfall.router_core.state"):
            importlib.import_module(name)
    coverage.cov_controller.pause()
    while (below := Coverage.current()) is not None:  # in a worker of xdist pytest-cov starts a second tracer
        below.stop()


def rewrite_share(config: pytest.Config) -> None:
    """Rewrite the asserts of this worker's share of the test files, if they have changed. Otherwise each worker would
    rewrite all of them in a fresh clone, at the same time."""
    worker, state = os.environ.get("PYTEST_XDIST_WORKER"), config.stash.get(assertstate_key, None)
    if worker is None or state is None or sys.dont_write_bytecode:
        return
    number, workers = int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    for path in sorted(MEASURED.parent.rglob("test_*.py"))[number::workers]:
        pyc = get_cache_dir(path) / (path.stem + PYC_TAIL)
        if _read_pyc(path, pyc) is None:
            pyc.parent.mkdir(exist_ok=True)
            source_hash, code = _rewrite_test(path, config)
            _write_pyc(state, code, source_hash, pyc)


def is_measured(item: pytest.Item) -> bool:
    path, function = item.path, getattr(item, "obj", None)
    decides = path.is_relative_to(MEASURED) and not path.is_relative_to(MEASURED / "state")
    return decides and not getattr(function, "is_hypothesis_test", False)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """The server of the session."""
    with temporary_server() as server:
        yield server


@pytest.fixture(scope="session")
def shared_client(shared_server: Server) -> Iterator[redis.Redis]:
    """A connection that stays: to open one takes ten times as long as to empty the server."""
    with redis.Redis(unix_socket_path=str(shared_server.socket)) as client:
        yield client


@pytest.fixture
def redis_url(shared_server: Server, shared_client: redis.Redis) -> str:
    """The address of an empty Valkey."""
    shared_client.config_set("maxmemory", MAX_MEMORY_BYTES)
    shared_client.flushall()
    return shared_server.url


@pytest.fixture(scope="module")
def server_of_module() -> Iterator[Server]:
    """A server of the module's own: no test of another, or with `redis_url`, empties it."""
    with temporary_server() as server:
        yield server


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the test's own, to be killed and started again: what it has acknowledged is on its disk."""
    with temporary_server("--appendfsync", "always") as server:
        yield server
