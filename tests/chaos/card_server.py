"""The Ollama look-alike with a memory as a process that can be killed: it writes down each load, call and answer.

`POST /taken/GB` lets another program use memory, `POST /evict` lets it unload every idle model by itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import click
from aiohttp import web

from tests.chaos.environment import write_line
from tests.fakes.card_ollama import CardOllama
from tests.fakes.shared_compute import SharedCompute


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--log", type=click.Path(path_type=Path), required=True)
@click.option("--vram", type=float, default=16.0)
@click.option("--shared", is_flag=True, help="Models that run at once share the compute.")
@click.option("--model", "models", multiple=True, help="NAME=GB,SECONDS TO LOAD,SECONDS OF A CALL[,CALLS AT ONCE].")
def main(port: int, log: Path, vram: float, shared: bool, models: tuple[str, ...]) -> None:
    """Serve until killed."""
    rows = {name: tuple(map(float, rest.split(","))) for name, _, rest in (model.partition("=") for model in models)}
    ollama = CardOllama({name: row[0] for name, row in rows.items()}, vram,
                        load_seconds={name: row[1] for name, row in rows.items()},
                        parallel_of={name: int(row[3]) for name, row in rows.items() if len(row) > 3},
                        compute=SharedCompute() if shared else None)  # fmt: skip
    ollama.call_seconds.update({name: row[2] for name, row in rows.items()})
    pid = os.getpid()
    ollama.note = lambda **fields: write_line(log, {"at": time.time(), "pid": pid, **fields})
    asyncio.run(serve(ollama, port))


async def serve(ollama: CardOllama, port: int) -> None:
    """The look-alike and its switches."""

    async def take(request: web.Request) -> web.Response:
        ollama.taken_gb = float(request.match_info["gb"])
        return web.Response()

    async def evict(_: web.Request) -> web.Response:
        gone = [model for model in ollama.memory if not ollama.users[model]]
        for model in gone:
            await ollama.unload(model)
        return web.json_response(gone)

    application = ollama.application()
    application.add_routes([web.post("/taken/{gb}", take), web.post("/evict", evict)])
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
