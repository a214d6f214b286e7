"""The parameters of every peer, and the job that every peer does. Standard library only: it is imported everywhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

READY = "bench:ready"
"""Counts the worker processes that can take jobs: each raises it when it has started."""

PROMPT = (
    "Write the line that Haruka says when the festival lanterns are lit and she sees the crowd for the first time. "
    "One sentence, warm, no exclamation mark."
)


@dataclass(frozen=True)
class Parameters:
    """Where things are and how much may be in flight. It crosses to a peer's process in the environment."""

    redis: str
    upstream: str
    slots: int
    count: int
    directory: Path
    lanes: int = 1

    def environ(self) -> dict[str, str]:
        """The environment variables that `read_parameters` reads."""
        return {f"BENCH_{name.upper()}": str(value) for name, value in asdict(self).items()}

    @property
    def calls(self) -> str:
        """The URL of the one call that a job makes."""
        return f"{self.upstream}/v1/chat/completions"


def read_parameters() -> Parameters:
    """The parameters of this process; KeyError when it was not started by a benchmark."""
    env = os.environ
    return Parameters(
        redis=env["BENCH_REDIS"],
        upstream=env["BENCH_UPSTREAM"],
        slots=int(env["BENCH_SLOTS"]),
        count=int(env["BENCH_COUNT"]),
        directory=Path(env["BENCH_DIRECTORY"]),
        lanes=int(env["BENCH_LANES"]),
    )


@dataclass(frozen=True)
class Order:
    """One job: a marker that the upstream logs, and the lane (which of several queues) it goes into."""

    marker: str
    lane: int = 0

    @property
    def body(self) -> dict[str, Any]:
        """The chat completion that a job requests: about 300 bytes as JSON."""
        return {
            "model": "mock",
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": 60,
            "metadata": {"job": self.marker},
        }


class Producer(Protocol):
    """How a peer accepts jobs. Those that block do so: nothing else runs in their process."""

    async def put(self, order: Order) -> None:
        """Accept one job; return when it is in Redis."""
        ...

    async def put_many(self, orders: Sequence[Order]) -> None:
        """Accept many jobs by the fastest way that the peer offers."""
        ...

    async def stored(self) -> int:
        """How many jobs have their result in Redis."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
