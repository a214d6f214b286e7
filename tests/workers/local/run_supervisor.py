"""Runs the plan that is given as JSON and prints each event as a line. The tests start and kill it."""

import asyncio
import json
import sys
from pathlib import Path

from openfall.workers.local.engine import EngineSpec
from openfall.workers.local.errors import LocalError
from openfall.workers.local.services import WorkerSpec
from openfall.workers.local.supervisor import SupervisorPlan, run


def main() -> int:
    options = json.loads(sys.argv[1])
    data = Path(options["data"])
    plan = SupervisorPlan(
        data=data,
        valkey=options.get("valkey", True),
        engines=tuple(
            EngineSpec(**{**engine, "model": Path(engine["model"])}) for engine in options.get("engines", ())
        ),
        workers=tuple(
            WorkerSpec(pool=pool, argv=(sys.executable, "-c", code), procs=procs)
            for pool, procs, code in options.get("workers", ())
        ),
        grace=options.get("grace", 30.0),
    )
    try:
        return asyncio.run(run(plan, lambda event: print(json.dumps(event), flush=True)))  # noqa: T201
    except LocalError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1


sys.exit(main())
