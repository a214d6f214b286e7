"""`python -m openfall.producers.gateway`: one process of the door, which `openfall serve` and `openfall up` start."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Serve, and return the exit code: 0; 1 an address cannot be used; 2 configuration; 3 Redis does not answer."""
    from openfall import config
    from openfall.producers.gateway.serve import CannotListen, serve
    from openfall.router_core.state.errors import StoreError

    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING if options.quiet else logging.INFO, format="%(asctime)s %(message)s")
    on_ready = _announce if options.announce else lambda: None
    try:
        _run(serve(config.load(options.config), on_ready))
    except config.ConfigError as error:
        return _fail(error, 2)
    except CannotListen as error:
        return _fail(error, 2)
    except (StoreError, config.NoRedis) as error:
        return _fail(error, 3)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="openfall serve", allow_abbrev=False)
    parser.add_argument("--config", type=Path, help="an openfall.yaml")
    parser.add_argument("--quiet", action="store_true", help="log warnings and errors only")
    parser.add_argument(
        "--announce", action="store_true", help='write {"event": "ready"} to standard output when ready'
    )
    return parser


def _run(work: object) -> None:
    if sys.platform == "win32":
        asyncio.run(work)  # type: ignore[arg-type]
    else:
        import uvloop

        uvloop.run(work)  # type: ignore[arg-type]


def _announce() -> None:
    from openfall.producers.cli.terminal import echo

    echo('{"event": "ready"}')  # the supervisor reads it
    sys.stdout.flush()


def _fail(error: Exception, code: int) -> int:
    from openfall.producers.cli.terminal import print_line

    print_line(f"openfall: {error}")
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
