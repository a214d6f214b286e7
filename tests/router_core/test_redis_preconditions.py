"""What a server must be to keep accepted jobs: each unmet precondition has its name, its severity and its remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from openfall.router_core.redis_preconditions import Fault, Risk, ServerFacts, ServerTerms, check_server, cli_options

GOOD = ServerFacts(
    name="Valkey", version="9.1.0", append_only_file=True, sync_policy="everysec", eviction_policy="noeviction",
    max_memory_bytes=1000 * 2**20, used_memory_bytes=2**20,
)  # fmt: skip


def findings(*risks: Risk, **changed: Any) -> dict[str, Any]:
    terms = ServerTerms(accepted_risks=risks)
    return {finding.name: finding for finding in check_server(replace(GOOD, **changed), terms)}


def test_a_server_that_keeps_accepted_jobs_has_no_finding():
    assert findings() == {}
    assert findings(sync_policy="always", clock_offset_seconds=-4.9) == {}


@pytest.mark.parametrize(
    ("changed", "name", "remedy"),
    [
        ({"append_only_file": False}, Risk.NO_APPEND_ONLY_FILE, "valkey-cli CONFIG SET appendonly yes"),
        ({"sync_policy": "no"}, Risk.NO_REGULAR_SYNC, "CONFIG SET appendfsync everysec"),
        ({"eviction_policy": "allkeys-lru"}, Risk.EVICTION, "CONFIG SET maxmemory-policy noeviction"),
        ({"eviction_policy": "volatile-ttl"}, Risk.EVICTION, "`maxmemory-policy noeviction`"),
        ({"name": "Redis", "version": "6.2.14"}, Fault.OLD_SERVER, "Redis 7.0 or newer"),
        ({"has_functions": False}, Fault.NO_FUNCTIONS, "Valkey 7.2 or newer"),
        ({"is_cluster": True}, Fault.CLUSTER, "cluster-enabled no"),
        ({"primary": "10.0.0.1:6379"}, Fault.READ_ONLY_REPLICA, "its primary, 10.0.0.1:6379"),
        ({"failing_writes": ("append-only file",)}, Fault.WRITE_ERRORS, "Free space on its disk"),
        ({"missing_rights": ("~rq:*", "+hset")}, Fault.MISSING_RIGHTS, "ACL SETUSER default '~rq:*' +hset"),
    ],
)
def test_each_error_names_its_remedy(changed, name, remedy):
    (finding,) = findings(**changed).values()
    assert (finding.name, finding.severity, finding.is_fatal) == (name, "error", True)
    assert remedy in str(finding)


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("redis://localhost:6379/0", "valkey-cli CONFIG"),
        ("redis://127.0.0.1:6390", "valkey-cli -p 6390 CONFIG"),
        ("rediss://user:secret@jobs.example/0", "valkey-cli -h jobs.example --tls CONFIG"),
        ("unix:///run/own.sock?db=0", "valkey-cli -s /run/own.sock CONFIG"),
        ("", "valkey-cli CONFIG"),
    ],
)
def test_the_command_of_a_remedy_reaches_the_server_that_was_checked_and_no_other(url, command):
    (finding,) = findings(append_only_file=False, cli_options=cli_options(url)).values()
    assert command in finding.remedy
    assert "secret" not in finding.remedy


@pytest.mark.parametrize(
    ("changed", "name", "words"),
    [
        ({"max_memory_bytes": 0}, Risk.NO_MEMORY_LIMIT, "CONFIG SET maxmemory"),
        ({"used_memory_bytes": 900 * 2**20}, Fault.MEMORY_NEARLY_FULL, "900 MiB of its 1,000 MiB"),
        ({"clock_offset_seconds": 61.0}, Risk.CLOCK_OFFSET, "61 s ahead of this machine's"),
        ({"clock_offset_seconds": -61.0}, Risk.CLOCK_OFFSET, "61 s behind this machine's"),
    ],
)
def test_a_warning_stops_nothing(changed, name, words):
    (finding,) = findings(**changed).values()
    assert (finding.name, finding.severity, finding.is_fatal) == (name, "warning", False)
    assert words in str(finding)


def test_a_right_that_is_missing_is_named_with_what_cannot_be_checked():
    unknown = {"unreadable": ("info", "config|get"), "used_memory_bytes": None, "sync_policy": None}
    (finding,) = findings(user="bot", **unknown).values()
    assert finding.name == Risk.UNCHECKED_SERVER
    assert "'bot' may not run INFO and CONFIG GET" in finding.message
    assert "`appendfsync`" in finding.message
    assert "(`limits: max_memory` has no effect)" in finding.message
    assert "ACL SETUSER bot +info '+config|get'" in finding.remedy
    assert "eviction" not in finding.message


def test_a_command_that_is_not_allowed_is_no_finding_if_all_is_known_without_it():
    assert findings(unreadable=("config|get",)) == {}


def test_the_sync_of_a_file_that_is_off_is_not_mentioned():
    changed = {"append_only_file": False, "sync_policy": None, "unreadable": ("config|get",)}
    assert list(findings(**changed)) == [Risk.NO_APPEND_ONLY_FILE]


def test_a_version_that_is_unknown_is_no_old_one():
    assert findings(version=None) == {}


def test_an_old_server_has_no_other_finding():
    assert list(findings(version="6.2.14", append_only_file=False, eviction_policy="allkeys-lru")) == [Fault.OLD_SERVER]


def test_an_accepted_risk_is_still_shown_and_stops_nothing():
    result = findings(Risk.EVICTION, eviction_policy="allkeys-lru", append_only_file=False)
    assert result[Risk.EVICTION].accepted
    assert not result[Risk.EVICTION].is_fatal
    assert result[Risk.NO_APPEND_ONLY_FILE].is_fatal, "each is accepted by its own name"
