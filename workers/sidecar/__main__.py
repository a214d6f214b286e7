"""`python -m openfall.workers.sidecar`: the process of the sidecar, which `openfall sidecar` starts."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from openfall.workers.stop_signals import end_on_interrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal. The exit code: 0; 1 a file or a process; 2 the manifest or the address."""
    from openfall import config
    from openfall.workers.local.errors import LocalError
    from openfall.workers.log_output import configure_logging, report_end
    from openfall.workers.service_manager import ServiceManager
    from openfall.workers.sidecar.sidecar_process import CannotServe, serve

    options = _parser().parse_args(argv)
    os.umask(0o077)
    configure_logging(options.quiet, options.log_format)
    try:
        manifest = config.load_manifest(options.manifest)
        if options.check:
            print(f"{manifest.source}: {len(manifest.profiles)} profiles, no problem")  # noqa: T201 - for the user
            return 0
        manager = ServiceManager.of(os.environ, announces=options.announce)
        asyncio.run(serve(manifest, manager))
    except (config.ConfigError, CannotServe, LocalError, OSError) as error:
        return report_end(error, 2 if isinstance(error, config.ConfigError | CannotServe) else 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    from openfall.workers.log_output import add_log_options

    parser = argparse.ArgumentParser(prog="openfall sidecar", allow_abbrev=False)
    parser.add_argument("--manifest", type=Path, help="a manifest.yaml")
    parser.add_argument("--check", action="store_true", help="check the manifest, and start nothing")
    add_log_options(parser)
    parser.add_argument("--announce", action="store_true", help='write {"event": "ready"} when ready')
    return parser


if __name__ == "__main__":
    end_on_interrupt()
    sys.exit(main())
