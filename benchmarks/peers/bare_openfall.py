"""No queue at all: openfall's own backend on its own, with every slot busy."""

from __future__ import annotations

import uvloop

from benchmarks.peers.bare import announce, open_producer
from benchmarks.peers.calls import TIMEOUT, drive
from benchmarks.peers.command_line import PeerDriver, main
from benchmarks.peers.parameters import Order, Parameters
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.jobs.outcome import Completion
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.registry import open_backend
from openfall.workers.backends.transport import Transport


def work(parameters: Parameters) -> None:
    uvloop.run(_work(parameters))


async def _work(parameters: Parameters) -> None:
    await announce(parameters)
    transport = Transport(keep_alive=True)  # to a loopback address it would not, for the sake of llama-server
    backend = open_backend(Backend(url=f"{parameters.upstream}/v1", pool="gpu", slots=parameters.slots), transport)

    async def call(at: int) -> None:
        outcome = await backend.complete(Request(body=Order(f"job-{at}").body, upstream="mock", timeout=TIMEOUT))
        if not isinstance(outcome, Completion):
            raise RuntimeError(f"the upstream did not answer: {outcome}")

    try:
        await drive(parameters, call)
    finally:
        await backend.close()


if __name__ == "__main__":
    main(PeerDriver(open_producer, work))
