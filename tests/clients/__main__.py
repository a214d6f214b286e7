"""`make clients`: programs of other projects, against a gateway with a worker and a scripted provider.

Each client has an environment of its own below `.clients`, made once with pip or uv, or with npm; the JDK is that of
this machine. A client that cannot be installed is skipped, in words. What installs gigabytes runs only by its name:
`python -m tests.clients open-webui`. The exit status is 1 if a check failed, 2 if no client could be installed.
"""

from __future__ import annotations

import asyncio
import os
import sys

from rich.console import Console
from rich.table import Table

from tests.clients.environments import CLIENTS, Client, prepare
from tests.clients.outcomes import Outcome, outcomes_of
from tests.clients.refusing_server import refusing_server
from tests.clients.stand import stand


async def main(names: list[str]) -> int:
    chosen = [client for client in CLIENTS if client.name in names or not (names or client.by_name)]
    console = Console()
    if len(chosen) < len(set(names)):
        console.print(f"unknown client; known: {', '.join(client.name for client in CLIENTS)}")
        return 2
    ready: dict[Client, str] = {}
    for client in chosen:
        console.print(f"preparing {client.name}", style="dim")
        ready[client] = await asyncio.to_thread(prepare, client)
    table = Table("client", "check", "outcome")
    failed = 0
    async with stand() as url, refusing_server() as refusals:
        for client, trouble in ready.items():
            outcomes = [Outcome("all", skipped=trouble)] if trouble else await _run(client, url, refusals)
            failed += sum(bool(outcome.why) for outcome in outcomes)
            for outcome in outcomes:
                table.add_row(client.name, outcome.check, outcome.text)
    console.print(table)
    if all(ready.values()):
        return 2
    return 1 if failed else 0


async def _run(client: Client, url: str, refusals: str) -> list[Outcome]:
    """Run the checks of a client in a process of its own."""
    command = [word.replace("GATEWAY_URL", url) for word in client.command]
    urls = {"GATEWAY_URL": url, "REFUSALS_URL": refusals}
    environment = {**os.environ, **urls, "AI_SDK_LOG_WARNINGS": "false", "LANGSMITH_TRACING": "false"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=client.home, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(client.seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return [Outcome("all", f"did not end within {client.seconds:.0f} s")]
    (client.home / "output.log").write_bytes(output)
    return outcomes_of(client, output.decode(errors="replace"), process.returncode or 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
