"""A gateway that kills itself at a step of its runner: before or after a write, a sync, a rename or a script.

`python -m tests.chaos.dying_gateway WHEN FAULTS ...` takes the arguments of the gateway behind them. WHEN is the
probability at each step, or the step at which it dies for sure: `after fsync`."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from openfall.producers.gateway.__main__ import main
from openfall.producers.gateway.batches import batch_journal
from openfall.router_core.state.redis_connection import RedisConnection

SCRIPTS = ("batch_create", "batch_claim", "batch_renew", "batch_end", "file_store")
RARE = {"replace": 12.0, "batch_create": 12.0, "batch_claim": 3.0, "batch_end": 50.0, "file_store": 12.0}
"""How much more often a gateway dies at steps that are rare."""


class Death:
    """Kills this process, now and then, or at one step."""

    def __init__(self, when: str, faults: str) -> None:
        self._step = "" if when[0].isdigit() else when
        self._probability = 0.0 if self._step else float(when)
        self._faults = faults

    def may_come(self, step: str, moment: str) -> None:
        comes = random.random() < min(0.5, self._probability * RARE.get(step, 1.0))
        if comes or f"{moment} {step}" == self._step:
            row = {"kind": "gateway", "began": time.time() * 1000, "step": f"{moment} {step}"}
            handle = os.open(self._faults, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(handle, (json.dumps(row) + "\n").encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*arguments: Any, **options: Any) -> Any:
            self.may_come(step, "before")
            value = call(*arguments, **options)
            self.may_come(step, "after")
            return value

        return dying


def arm(death: Death) -> None:
    """Make the steps of a runner dangerous."""
    os.replace = death.around("replace", os.replace)
    os.fsync = death.around("fsync", os.fsync)
    whole_write = batch_journal.write_all

    def torn_write(file: Any, data: bytes) -> None:
        half = len(data) // 2
        whole_write(file, data[:half])
        if data:
            death.may_come("write", "within a")
        whole_write(file, data[half:])

    batch_journal.write_all = torn_write  # type: ignore[attr-defined]
    script = RedisConnection.script

    async def dying_script(self: Any, name: str, *arguments: Any) -> Any:
        step = "batch_ack" if name == "batch_renew" and arguments[0]["entries"] else name
        if name in SCRIPTS:
            death.may_come(step, "before")
        reply = await script(self, name, *arguments)
        if name in SCRIPTS:
            death.may_come(step, "after")
        return reply

    RedisConnection.script = dying_script  # type: ignore[method-assign]


def run(arguments: Sequence[str]) -> int:
    """A gateway that dies: its exit status if it does not."""
    when, faults, *rest = arguments
    arm(Death(when, faults))
    return main(rest)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
