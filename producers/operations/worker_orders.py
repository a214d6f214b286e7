"""Stops workers, keeps them from further jobs, and resumes them."""

from __future__ import annotations

from typing import Literal

from openfall.producers.operations.operator import Operator
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.worker_commands import send_command

WorkerOrder = Literal["stop", "quiet", "resume"]
_COMMANDS = {"stop": "shutdown", "quiet": "quiet", "resume": "resume"}
EFFECTS = {
    "stop": "stops when its calls have ended",
    "quiet": "claims no more jobs",
    "resume": "claims jobs again",
}


async def order_worker(operator: Operator, name: str, order: WorkerOrder) -> bool:
    """Give an order to a worker. False: it does not listen, so it is gone. Raises `UnknownName`.

    A worker that stops may be started again by its supervisor."""
    known = [worker.name for worker in (await fetch_status(operator.link)).workers]
    if name not in known:
        raise UnknownName("worker", name, known)
    is_delivered = await send_command(operator.link, name, _COMMANDS[order])
    await operator.note(f"worker.{order}", name, EFFECTS[order] if is_delivered else "it does not listen")
    return is_delivered
