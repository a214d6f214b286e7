"""Snapshots of an invented fleet, for tests of sections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from openfall.config import load
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.router_core.state.fleet_status import FleetStatus, QueueStatus, WorkerStatus
from openfall.router_core.state.held_jobs import HeldJob, summarize_held
from openfall.router_core.vocabulary import HoldReason

NOW = 1_800_000_000.0
WORKER = WorkerStatus(
    "w", "idle", True, ("gpu.tiny.interactive", "gpu.tiny.background", "degrade"), "host", 1, 0.5, 3, 0
)
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


def held_job(reason: HoldReason, *models: str, **more: Any) -> HeldJob:
    """A job of the role chat that one of the models releases."""
    fields: dict[str, Any] = {
        "id": "j", "role": "chat", "queue": "gpu.tiny.interactive", "why": "", "held_at": NOW, "deadline": NOW,
        "ready_at": 0.0, "deliveries": 1, **more,
    }  # fmt: skip
    return HeldJob(reason=reason, release_models=models, **fields)


def holding(snapshot: PageSnapshot, *jobs: HeldJob, **more: Any) -> PageSnapshot:
    """A snapshot with held jobs."""
    return replace(snapshot, held=summarize_held(len(jobs), jobs), held_jobs=jobs, **more)
