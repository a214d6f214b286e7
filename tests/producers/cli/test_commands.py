"""What `ask`, `enqueue`, `job`, `status`, `workers` and `queues` print, and how they exit."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.producers.cli.conftest import Run, Start


def test_an_answer_goes_to_standard_output_and_its_receipt_to_standard_error(openfall: Run, answering: Any) -> None:
    ran = openfall("ask", "Haruka waves", "-r", "dialogue")
    assert (ran.returncode, ran.stdout) == (0, "echo Haruka waves\n")
    assert "tiny@rack" in ran.stderr
    assert "3+4 tok, $? · role dialogue: tiny first of 2]" in ran.stderr


def test_a_prompt_may_come_from_standard_input(openfall: Run, answering: Any) -> None:
    assert openfall("ask", "-", stdin="from a pipe").stdout == "echo from a pipe\n"


def test_a_streamed_answer_is_printed_whole(openfall: Run, answering: Any) -> None:
    ran = openfall("ask", "a b c", "--stream")
    assert ran.stdout.strip() == "echo a b c"
    assert answering.jobs[0].stream


def test_an_answer_as_json_has_everything(openfall: Run, answering: Any) -> None:
    answer = json.loads(openfall("ask", "hi", "--json").stdout)
    assert answer["text"] == "echo hi"
    assert answer["status"] == "answered"
    assert answer["attempts"][0]["model"] == "tiny"


def test_a_failed_job_exits_with_1_and_names_the_reason(openfall: Run, answering: Any) -> None:
    ran = openfall("ask", "fail: bad_request")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "failed (bad_request): it was asked to" in ran.stderr


def test_an_ended_wait_prints_the_id_and_exits_with_7(openfall: Run, worker_for: Callable[..., Any]) -> None:
    ran = openfall("ask", "later", "--wait", "200ms")
    assert ran.returncode == 7
    job_id = ran.stderr.split("job ")[1].split()[0]
    with worker_for():
        again = openfall("job", "wait", job_id)
    assert (again.returncode, again.stdout) == (0, "echo later\n")


def test_an_interrupted_ask_prints_the_id_and_the_job_goes_on(
    start: Start, redis_url: str, openfall: Run, worker_for: Callable[..., Any]
) -> None:
    client = redis.Redis.from_url(redis_url)
    with client, start("ask", "slow") as process:
        while not client.pubsub_channels():  # `ask` knows that its job is accepted, and waits for its events
            time.sleep(0.02)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    job_id = err.split("openfall job wait ")[1].split()[0]
    with worker_for():
        assert openfall("job", "wait", job_id).stdout == "echo slow\n"


def test_a_queue_without_a_worker_is_reported_while_waiting(openfall: Run) -> None:
    ran = openfall("ask", "anyone?", "--wait", "5s")
    assert "no worker serves gpu.tiny.interactive" in ran.stderr


def test_with_strict_a_fallback_exits_with_6(openfall: Run, worker_for: Callable[..., Any]) -> None:
    with worker_for(hand_off=True):
        ran = openfall("ask", "x", "-r", "dialogue", "--strict")
    assert (ran.returncode, ran.stdout) == (6, "echo x\n")
    assert "tiny failed: overloaded; the next in its chain answered" in ran.stderr


def test_a_prompt_is_enqueued_and_its_id_printed(openfall: Run) -> None:
    ran = openfall("enqueue", "-r", "tags", stdin="later")
    assert ran.returncode == 0
    shown = openfall("job", "show", ran.stdout.strip())
    assert "queued" in shown.stdout
    assert "gpu.other.batch" in shown.stdout
    record = json.loads(openfall("job", "show", ran.stdout.strip(), "--json").stdout)
    assert record["queue"] == "gpu.other.batch"
    assert "body" not in record["job"]


def test_each_valid_line_is_enqueued_and_each_faulty_one_reported(openfall: Run, tmp_path: Path) -> None:
    message = {"messages": [{"role": "user", "content": "x"}]}
    rows = [
        json.dumps({"custom_id": "a", "body": message}),
        "{broken",
        json.dumps({"custom_id": "a", "body": message}),
        json.dumps({"custom_id": "b", "body": {**message, "model": "tagz"}}),
        json.dumps({"custom_id": "c", "body": message, "urgency": "batch"}),
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    ran = openfall("enqueue", "in.jsonl")
    assert ran.returncode == 5
    assert len(ran.stdout.split()) == 2
    assert "line 2: not JSON" in ran.stderr
    assert "line 3: custom_id 'a' is used in line 1 already" in ran.stderr
    assert "line 4: unknown role, task or model 'tagz'. Did you mean 'tags'?" in ran.stderr


@pytest.mark.parametrize("mark", ["", "\ufeff", "\n"])
def test_requests_that_are_not_called_jsonl_are_refused(openfall: Run, tmp_path: Path, mark: str) -> None:
    text = mark + json.dumps({"custom_id": "a", "body": {"messages": [{"role": "user", "content": "x"}]}}) + "\n{}\n"
    (tmp_path / "requests.txt").write_text(text)
    for source in ("-", "requests.txt"):
        ran = openfall("enqueue", source, stdin=text)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "this looks like JSONL: add --jsonl" in ran.stderr
    assert openfall("enqueue", "-", stdin='{"a prompt": "in JSON"}').returncode == 0


def test_lines_of_which_none_is_valid_name_no_others(openfall: Run) -> None:
    ran = openfall("enqueue", "--jsonl", stdin="no\n")
    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (5, "1 of 1 line not submitted")


def test_a_job_is_cancelled_once(openfall: Run) -> None:
    job_id = openfall("enqueue", stdin="x").stdout.strip()
    assert "is cancelled" in openfall("job", "cancel", job_id).stdout
    assert "had ended already" in openfall("job", "cancel", job_id).stdout
    assert "why         cancelled: cancelled by its caller" in openfall("job", "show", job_id).stdout
    ran = openfall("job", "wait", job_id)
    assert ran.returncode == 1
    assert "cancelled by its caller" in ran.stderr


def test_status_is_the_sentence_of_the_page_its_causes_and_a_table(
    openfall: Run, worker_for: Callable[..., Any]
) -> None:
    start = "Start one on a machine of the pool: Redis knows of no earlier one. -> openfall up, or openfall work POOL"
    assert f"- No worker is alive. {start}" in openfall("status").stdout
    openfall("enqueue", "-r", "tags", stdin="x")
    ran = openfall("status")
    assert f"- No worker is alive. 1 job waits. {start}" in ran.stdout
    assert "gpu.other.batch" in ran.stdout
    status = json.loads(openfall("status", "--json").stdout)
    assert status["waiting_by_urgency"]["batch"] == 1
    with worker_for():
        openfall("ask", "x")
        assert openfall("status").stdout.startswith(
            "People get answers: nothing is late, nothing waits, 1 worker ready."
        )
        assert "answering-worker" in openfall("workers").stdout
        assert json.loads(openfall("workers", "--json").stdout)[0]["alive"] is True


def test_a_queue_is_paused_and_resumed(openfall: Run) -> None:
    assert "is paused" in openfall("queues", "pause", "gpu.tiny.interactive").stdout
    assert "was paused already" in openfall("queues", "pause", "gpu.tiny.interactive").stdout
    paused = r"The queue gpu\.tiny\.interactive is paused \(|paused: gpu\.tiny\.interactive \("
    assert re.search(paused, openfall("status").stdout), "also where nothing waits; and who did it"
    openfall("enqueue", stdin="x")
    assert "The queue gpu.tiny.interactive is paused (" in openfall("status").stdout
    assert "is resumed" in openfall("queues", "resume", "gpu.tiny.interactive").stdout
    assert "gpu.tiny.interactive" in openfall("queues").stdout


def test_status_gives_the_reason_of_queues_that_were_paused_together_once(openfall: Run) -> None:
    openfall("queues", "pause", "*.batch", "--reason", "new cards")
    openfall("queues", "pause", "gpu.tiny.interactive")
    summary = json.loads(openfall("status", "--json").stdout)["summary"]
    for names in ("gpu.other.batch, gpu.tiny.batch", "gpu.tiny.interactive"):
        assert re.search(rf"The queues? {names} (is|are) paused \(|; paused: {names} \(", summary)
    assert (summary.count("new cards"), summary.count("gpu.other.batch")) == (1, 1)


def test_all_queues_that_match_a_pattern_are_paused_and_resumed(openfall: Run) -> None:
    openfall("queues", "pause", "gpu.tiny.batch")
    assert openfall("queues", "pause", "*.batch").stdout.splitlines() == [
        "gpu.tiny.batch was paused already", "gpu.other.batch is paused"]  # fmt: skip
    assert openfall("queues", "resume", "gpu.other.*").stdout == "gpu.other.batch is resumed\n"
    assert openfall("queues", "resume", "gpu.*").stdout == "gpu.tiny.batch is resumed\n"
    assert len(openfall("queues", "resume", "gpu.*").stdout.splitlines()) == 6
    unknown = openfall("queues", "pause", "gpu.*.bach")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "unknown queue 'gpu.*.bach'" in unknown.stderr
