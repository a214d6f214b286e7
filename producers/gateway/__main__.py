"""`python -m openfall.producers.gateway`: the gateway as a process, which `openfall serve` and `openfall up` start."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from openfall.workers.stop_signals import end_on_interrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Serve, and return the exit code: 0; 2 a configuration or an address cannot be used; 3 Redis does not answer."""
    from openfall.workers.module_imports import no_garbage_collection

    with no_garbage_collection():
        from openfall import config
        from openfall.producers.gateway.serve import CannotListen, serve, serve_processes
        from openfall.router_core.state.errors import StoreError
        from openfall.workers.log_output import configure_logging, report_end
        from openfall.workers.service_manager import ServiceManager

    options = _parser().parse_args(argv)
    configure = configure_logging(options.quiet, options.log_format)
    manager = ServiceManager.of(os.environ, announces=options.announce)
    try:
        loaded = config.load(options.config)
        loaded.require_models()
        configure(loaded)
        if options.sockets:
            _end_with_parent(options.alive)
            sockets = [socket.socket(fileno=int(number)) for number in options.sockets.split(",")]
            _run(serve(loaded, manager, configure, sockets))
        elif loaded.settings.gateway.processes > 1:
            config.refuse_pipe(loaded.source)
            _run(serve_processes(loaded, _shared_arguments(options), manager))
        else:
            _run(serve(loaded, manager, configure))
    except (config.ConfigError, CannotListen) as error:
        return report_end(error, 2)
    except (StoreError, config.NoRedis) as error:
        return report_end(error, 3)
    return 0


def _parser() -> argparse.ArgumentParser:
    from openfall.workers.log_output import add_log_options

    parser = argparse.ArgumentParser(prog="openfall serve", allow_abbrev=False)
    parser.add_argument("--config", type=Path, help="an openfall.yaml")
    add_log_options(parser)
    parser.add_argument(
        "--announce", action="store_true", help='write {"event": "ready"} to standard output when ready'
    )
    parser.add_argument("--sockets", help=argparse.SUPPRESS)  # descriptors of open sockets
    parser.add_argument("--alive", type=int, help=argparse.SUPPRESS)  # a pipe that ends with the parent
    return parser


def _shared_arguments(options: argparse.Namespace) -> list[str]:
    config_argument = ["--config", str(options.config)] if options.config else []
    log_format = ["--log-format", options.log_format] if options.log_format else []
    return [*config_argument, *log_format, *(["--quiet"] if options.quiet else [])]


def _run(work: Coroutine[Any, Any, None]) -> None:
    if sys.platform == "win32":
        asyncio.run(work)
    else:
        import uvloop

        uvloop.run(work)


def _end_with_parent(descriptor: int) -> None:
    """Stop when the parent has ended, also by SIGKILL: nothing is ever written to the pipe."""

    def wait() -> None:
        os.read(descriptor, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


if __name__ == "__main__":
    end_on_interrupt()
    sys.exit(main())
