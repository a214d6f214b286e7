"""The contenders of the comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis

from benchmarks.peers.parameters import READY


@dataclass(frozen=True)
class Peer:
    """One way to get the same work done.

    `hint` is about how many jobs a second it does when the upstream answers at once: it sizes a run, nothing else.
    `slots` is how many calls it has in flight, `processes` how many worker processes, `environment` None for ours.
    """

    name: str
    module: str
    hint: float
    environment: str | None = "others"
    slots: int = 128
    processes: int = 1
    registers: bool = False
    """Its workers are known by rq's own list rather than by our counter."""
    queue: bool = True

    def ready(self, redis: Redis) -> int:
        """How many of its worker processes can take jobs."""
        if self.registers:
            return int(redis.scard("rq:workers"))
        return int(redis.get(READY) or 0)


PEERS = (
    Peer("openfall", "openfall", hint=5000, environment=None, registers=True),
    Peer("rq worker (forks)", "rq_fork", hint=8, slots=1, registers=True),
    Peer("rq pool of 8", "rq", hint=700, slots=8, processes=8, registers=True),
    Peer("arq", "arq", hint=2000, environment="arq"),
    Peer("taskiq", "taskiq", hint=2000),
    Peer("SAQ", "saq", hint=2000),
    Peer("dramatiq", "dramatiq", hint=1300),
    Peer("no queue, aiohttp", "bare", hint=10000, environment=None, queue=False),
    Peer("no queue, our backend", "bare_openfall", hint=5000, environment=None, queue=False),
)

OURS = PEERS[0].name
"""Every ratio is to this one."""


def select_peers(names: tuple[str, ...], among: tuple[Peer, ...] = PEERS) -> tuple[Peer, ...]:
    """The peers of those module names, in their order; all of them for none."""
    return tuple(peer for peer in among if not names or peer.module in names)
