"""Snapshots of an invented fleet, for tests of sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openfall.config import load
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.router_core.state.fleet_status import FleetStatus, QueueStatus, WorkerStatus

NOW = 1_800_000_000.0
WORKER = WorkerStatus("w", "idle", True, ("gpu.tiny.interactive", "degrade"), "host", 1, 0.5, 3, 0)
QUEUE = QueueStatus("gpu.tiny.interactive", 0, None, 0, 0, False)
STATUS = FleetStatus(NOW, (QUEUE,), (WORKER,), 0, 0, False, None, {})


def calm_snapshot(home: Path, **more: Any) -> PageSnapshot:
    """One model at one local backend, a worker, and nothing that waits."""
    file = home / "openfall.yaml"
    file.write_text(
        "redis: redis://127.0.0.1:1\npools: {gpu: {local: yes}}\n"
        "backends: {rack: {protocol: openai, url: 'http://127.0.0.1:9', pool: gpu}}\n"
        "models: {tiny: {upstream: t, backends: [rack]}}\nroles: {chat: {chain: [tiny], urgency: interactive}}\n"
    )
    return PageSnapshot(**{"now": NOW, "catalog": load(file).catalog, "catalog_digest": "", "status": STATUS, **more})
