"""The stock `rq worker`: it forks for each job."""

from __future__ import annotations

from benchmarks.peers.command_line import PeerDriver, main
from benchmarks.peers.rq import open_producer, work_forking

if __name__ == "__main__":
    main(PeerDriver(open_producer, work_forking))
