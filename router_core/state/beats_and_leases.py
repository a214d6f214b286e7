"""How often a worker beats, how long its leases last without a beat, and when silence counts as an outage of Redis."""

from __future__ import annotations

from openfall.router_core.state import caller_leases

LEASE_SECONDS = 10.0
"""Seconds that a lease lasts without a beat."""

BEAT_INTERVAL_SECONDS = 2.0

PRESENCE_SECONDS = 10.0

FLEET_SILENCE = {
    "after_ms": 4000,
    "grace_ms": 5000,
    "lease_ms": int(LEASE_SECONDS * 1000),
    "caller_lease_ms": int(caller_leases.LEASE_SECONDS * 1000),
}
"""Milliseconds without a beat of any worker after which Redis counts as having been away; graces for settles and
gateways; leases. A last beat that is as long ahead means that its clock was set back."""

RQ_WORKER_TTL_SECONDS = 60
"""Seconds after which rq forgets a worker that no longer beats."""
