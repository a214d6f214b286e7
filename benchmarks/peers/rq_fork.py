"""The stock `rq worker`: it forks for each job."""

from __future__ import annotations

from benchmarks.peers.rq import open_producer, work_forking
from benchmarks.peers.verbs import Trade, main

if __name__ == "__main__":
    main(Trade(open_producer, work_forking))
