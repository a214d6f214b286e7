"""`python -m openfall.workers COMMAND`: the worker processes that `openfall work` and `openfall up` start.

Exit codes: 0 success; 1 failure; 2 usage, configuration, or a Redis that would not keep jobs; 3 Redis is unreachable.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from openfall import config
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state.errors import StoreError, StoreUnreachable, UnsuitableRedis
from openfall.router_core.state.keys import DEGRADE
from openfall.workers.local.errors import LocalError
from openfall.workers.local.private_files import make_private
from openfall.workers.log_output import ApplyToLog, add_log_options, configure_logging, report_end
from openfall.workers.module_imports import no_garbage_collection
from openfall.workers.service_manager import ServiceManager


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Every error that a user can fix is one line on standard error."""
    options = _parser().parse_args(argv)
    os.umask(0o077)  # answers, logs and sockets are their owner's alone
    configure = configure_logging(options.quiet, options.log_format)
    try:
        return (_work if options.command == "work" else _up)(options, configure)
    except (config.ConfigError, UnknownName, ValueError, UnsuitableRedis) as error:
        return report_end(error, 2)
    except (StoreUnreachable, config.NoRedis) as error:
        return report_end(error, 3)
    except (StoreError, LocalError, OSError) as error:
        return report_end(error, 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="openfall", allow_abbrev=False, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--config", type=Path, help="an openfall.yaml")
    add_log_options(common)
    work = commands.add_parser("work", parents=[common], allow_abbrev=False, help="run the jobs of one pool")
    work.add_argument("pool", help="a name under `pools:`, such as gpu or cloud")
    work.add_argument("--backend", help="call only this backend of the pool")
    work.add_argument("--slots", type=int, help="maximum concurrent calls")
    work.add_argument("--procs", type=int, help="number of supervised processes")
    work.add_argument("--burst", action="store_true", help="stop when the queues are empty")
    work.add_argument("--announce", action="store_true", help='write {"event": "ready"} to standard output when ready')
    up = commands.add_parser("up", parents=[common], allow_abbrev=False, help="start everything on this machine")
    up.add_argument("--parent", type=int, metavar="PID", help="stop when this process ends")
    return parser


def _work(options: argparse.Namespace, configure: ApplyToLog) -> int:
    with no_garbage_collection():
        from openfall.workers import process
        from openfall.workers.execution.job_traces import start_traces
        from openfall.workers.worker_options import WorkerOptions, watch_worker_config

    for name in ("slots", "procs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ValueError(f"--{name} must be 1 or more, not {getattr(options, name)}")
    loaded = _load(options.config, configure, options.pool)
    if options.procs is not None and options.procs > 1:
        from openfall.workers import supervisor_plan

        if options.pool != DEGRADE:
            loaded.catalog.models_of(options.pool)  # an unknown pool fails before any process starts
        config.refuse_pipe(loaded.source)
        manager = ServiceManager.of(os.environ)
        return asyncio.run(supervisor_plan.run_pool(loaded, options.pool, sys.argv[1:], options.procs, manager))
    start_traces(loaded.settings.traces.endpoint)
    make_private(loaded.settings.data_dir)  # where an answer is kept while Redis is away
    worker_options = WorkerOptions(pool=options.pool, backend=options.backend, slots=options.slots, burst=options.burst)
    manager = ServiceManager.of(os.environ, announces=options.announce)
    work = process.run(watch_worker_config(loaded, worker_options, manager, configure))
    if sys.platform == "win32":
        asyncio.run(work)
    else:
        import uvloop

        uvloop.run(work)
    return 0


def _up(options: argparse.Namespace, configure: ApplyToLog) -> int:
    from openfall.workers import supervisor_plan
    from openfall.workers.local.die_with_parent import signal_on_parent_death

    if options.parent is not None and not signal_on_parent_death(options.parent):
        return 128 + signal.SIGTERM
    loaded = _load(options.config, configure)
    config.refuse_pipe(loaded.source)
    manager = ServiceManager.of(os.environ)
    return asyncio.run(supervisor_plan.run_all(loaded, options.log_format, manager))


def _load(path: Path | None, configure: ApplyToLog, pool: str | None = None) -> config.LoadedConfig:
    """The configuration. Its warnings are logged, and the backends (of a pool) without a key."""
    loaded = config.load(path)
    loaded.require_models()
    configure(loaded)
    for warning in (*loaded.warnings, *(problem for _, problem in config.missing_keys(loaded, pool))):
        logging.getLogger("openfall.worker").warning("%s", warning)
    return loaded
