"""`make agents`: coding agents that others wrote, at a gateway with a worker, a Valkey and a scripted provider.

Each agent is installed once below `.clients`, by npm. It runs without a person in a home of its own, and finishes a
turn with a tool: over a provider of its own protocol, over one of another, and while the gateway is killed. Where
`unshare` is, all of it runs in a network that has this machine's loopback only. The exit status is 1 if a check failed,
2 if no agent could be installed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys

from rich.console import Console
from rich.table import Table

from tests.agents.agent_checks import checks_of
from tests.agents.agent_programs import AGENTS
from tests.clients.environments import prepare
from tests.clients.outcomes import Outcome

_ISOLATED = "OPENFALL_AGENTS_ISOLATED"
"""Set in the process that has loopback only."""


def main(names: list[str]) -> int:
    console = Console()
    chosen = [agent for agent in AGENTS if not names or agent.name in names]
    if len(chosen) < len(set(names)):
        console.print(f"unknown agent; known: {', '.join(agent.name for agent in AGENTS)}")
        return 2
    troubles = {agent.name: prepare(agent.client) for agent in chosen}
    if not os.environ.get(_ISOLATED) and shutil.which("unshare") and shutil.which("ip"):
        _isolate(names)
    table = Table("agent", "check", "outcome")
    failed = 0
    for agent in chosen:
        trouble = troubles[agent.name]
        outcomes = [Outcome("all", skipped=trouble)] if trouble else asyncio.run(checks_of(agent))
        failed += sum(bool(outcome.why) for outcome in outcomes)
        for outcome in outcomes:
            table.add_row(agent.name, outcome.check, outcome.text)
    console.print(table)
    if not os.environ.get(_ISOLATED):
        console.print("the network was open to the agents: `unshare` and `ip` of Linux close it", style="yellow")
    if all(troubles.values()):
        return 2
    return 1 if failed else 0


def _isolate(names: list[str]) -> None:
    """Become the same program in a network of its own. Returns if the system forbids it."""
    script = 'ip link set lo up && exec "$@" || exit 125'
    command = ["unshare", "--net", "--map-root-user", "sh", "-c", script, "sh"]
    if os.spawnvp(os.P_WAIT, command[0], [*command, "true"]) == 0:
        os.environ[_ISOLATED] = "yes"
        os.execvp(command[0], [*command, sys.executable, "-m", "tests.agents", *names])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
