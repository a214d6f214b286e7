"""`openfall audit`: whatever an operator does leaves a line, with who, what and why."""

from __future__ import annotations

import json

import pytest
import redis

from openfall.router_core.state import keys
from tests.producers.cli.conftest import Run

ACTIONS = [
    (
        ("breakers", "force-open", "rack/tiny", "--for", "10m", "--reason", "new weights"),
        "breaker.force_open",
        "rack/tiny",
    ),
    (("breakers", "force-closed", "rack/tiny"), "breaker.force_closed", "rack/tiny"),
    (("breakers", "reset", "rack/tiny"), "breaker.reset", "rack/tiny"),
    (("local-only", "on", "--reason", "audit"), "local_only.on", "fleet"),
    (("local-only", "off"), "local_only.off", "fleet"),
    (("queues", "pause", "gpu.*"), "queue.pause", "gpu.*"),
    (("queues", "resume", "gpu.*"), "queue.resume", "gpu.*"),
    (("held", "replay", "--all"), "held.replay", "all"),
    (("held", "drop", "--role", "chat", "--yes"), "held.drop", "role=chat"),
    (("keys", "new", "bot", "--page", "read"), "key.new", "bot"),
    (("keys", "revoke", "bot"), "key.revoke", "bot"),
]


def test_each_action_of_an_operator_is_in_the_audit_log_with_its_reason(openfall: Run) -> None:
    for args, _, _ in ACTIONS:
        assert openfall(*args).returncode == 0, args
    entries = json.loads(openfall("audit", "--json").stdout)
    assert [(entry["action"], entry["subject"]) for entry in reversed(entries)] == [each[1:] for each in ACTIONS]
    assert {entry["via"] for entry in entries} == {"cli"}
    assert entries[-1]["why"] == "new weights"
    assert "for 600 s" in entries[-1]["effect"]
    assert "new weights" in openfall("audit").stdout


def test_an_action_is_in_the_audit_log_although_the_memory_of_redis_is_full(openfall: Run, redis_url: str) -> None:
    openfall("local-only", "on")
    store = redis.from_url(redis_url)
    store.config_set("maxmemory", 1)
    ran = openfall("queues", "resume", "gpu.*")
    store.config_set("maxmemory", 0)
    store.close()
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(openfall("audit", "--json").stdout)[0]["action"] == "queue.resume"


def test_a_question_is_no_action(openfall: Run) -> None:
    for args in (("breakers",), ("local-only",), ("queues",), ("held", "list"), ("workers",)):
        assert openfall(*args).returncode == 0
    assert openfall("audit", "--json").stdout.strip() == "[]"


def test_an_action_that_is_refused_leaves_no_line(openfall: Run) -> None:
    assert openfall("queues", "pause", "nowhere.*").returncode == 2
    assert openfall("audit", "--json").stdout.strip() == "[]"


def test_a_line_that_another_program_wrote_is_left_out(openfall: Run, redis_url: str) -> None:
    store = redis.from_url(redis_url)
    store.xadd(keys.AUDIT_LOG, {"entry": "not json"})
    store.xadd(keys.AUDIT_LOG, {"entry": json.dumps({"actor": "\x1b[31mme", "action": "x"})})
    store.close()
    (entry,) = json.loads(openfall("audit", "--json").stdout)
    assert (entry["action"], entry["subject"]) == ("x", "")


@pytest.mark.parametrize("order", ["stop", "quiet", "resume"])
def test_an_order_to_a_worker_that_is_gone_says_so(openfall: Run, redis_url: str, order: str) -> None:
    store = redis.from_url(redis_url)
    store.sadd(keys.RQ_WORKERS, keys.RQ_WORKER + "w1")
    store.hset(keys.RQ_WORKER + "w1", mapping={"queues": "gpu.tiny.batch", "state": "idle"})
    store.close()
    assert openfall("workers", order, "w1").stdout == "w1 does not listen: it is gone\n"
    assert "w1" in openfall("workers", order, "w2").stderr
