"""The mock upstream answers like a provider and keeps an honest log, because other runs are judged by it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
CALLS = "/v1/chat/completions"


def ask(marker: str = "job-1", **more: Any) -> bytes:
    body = {"model": "mock-7b", "messages": [{"role": "user", "content": "Say it."}], "metadata": {"job": marker}}
    return json.dumps({**body, **more}).encode()


@contextmanager
def upstream(*options: str) -> Iterator[http.client.HTTPConnection]:
    argv = [sys.executable, "-m", "benchmarks.upstream", *options]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        place = urlsplit(process.stdout.readline().strip())
        try:
            with closing(http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)) as connection:
                yield connection
        finally:
            process.terminate()
    assert process.returncode == 0


def exchange(connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    connection.request(method, path, body or None)
    response = connection.getresponse()
    return response.status, response.read()


def events(log: Path, enough: Callable[[list[str]], bool]) -> list[dict[str, Any]]:
    end = time.monotonic() + 10
    while True:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        if enough([line["event"] for line in lines]) or time.monotonic() > end:
            return lines
        time.sleep(0.01)


def test_a_call_is_answered_with_a_chat_completion_that_names_its_job() -> None:
    with upstream() as connection:
        status, body = exchange(connection, "POST", CALLS, ask("job-7"))
    answer = json.loads(body)
    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "mock-7b"
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": "This is the answer to job-7",
        "refusal": None,
    }
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]


def test_a_connection_is_kept_for_the_next_call_and_every_answer_has_its_own_id() -> None:
    with upstream() as connection:
        ids = {json.loads(exchange(connection, "POST", CALLS, ask())[1])["id"] for _ in range(20)}
        stats = json.loads(exchange(connection, "GET", "/stats")[1])
    assert len(ids) == 20
    assert (stats["received"], stats["answered"], stats["connections"]) == (20, 20, 1)


def test_a_caller_that_asks_for_close_gets_it() -> None:
    with upstream() as connection:
        connection.request("POST", CALLS, ask(), {"Connection": "close"})
        response = connection.getresponse()
        assert response.getheader("connection") == "close"
        assert json.loads(response.read())["object"] == "chat.completion"
        assert response.isclosed()


@pytest.mark.parametrize("delta", ["0", "1"], ids=["at once", "piece by piece"])
def test_a_stream_has_a_role_the_words_a_finish_the_usage_and_an_end(delta: str) -> None:
    with upstream("--delta-ms", delta) as connection:
        body = ask("job-9", stream=True, stream_options={"include_usage": True})
        connection.request("POST", CALLS, body)
        response = connection.getresponse()
        assert response.getheader("content-type") == "text/event-stream"
        sent = response.read().decode()
    lines = [line.removeprefix("data: ") for line in sent.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert chunks.pop()["usage"]["total_tokens"] == 30
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "This is the answer to job-9"
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]


def test_an_invalid_call_is_refused_in_the_words_of_the_protocol() -> None:
    with upstream() as connection:
        answers = [
            exchange(connection, "POST", CALLS, b"not json"),
            exchange(connection, "POST", CALLS, b'{"model": "mock"}'),
            exchange(connection, "POST", CALLS, b"[1, 2]"),
            exchange(connection, "GET", CALLS),
            exchange(connection, "GET", "/elsewhere"),
        ]
        healthy = exchange(connection, "GET", "/health")
    assert [status for status, _ in answers] == [400, 400, 400, 405, 404]
    assert all(json.loads(body)["error"]["message"] for _, body in answers)
    assert healthy == (200, b'{"status":"ok"}')


def test_the_log_has_a_line_for_each_call_received_and_each_answered(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    before = time.monotonic()
    with upstream("--latency-ms", "5", "--log", str(log)) as connection:
        exchange(connection, "POST", CALLS, ask("a"))
        exchange(connection, "POST", CALLS, json.dumps({"model": "m", "messages": [{"content": "bee"}]}).encode())
        lines = events(log, lambda kinds: kinds.count("answered") == 2)
    rows = [(line["event"], line["call"], line["job"]) for line in lines]
    assert rows == [("received", 1, "a"), ("answered", 1, "a"), ("received", 2, "bee"), ("answered", 2, "bee")]
    moments = [line["monotonic"] for line in lines]
    assert moments == sorted(moments)
    assert before < moments[0]
    assert moments[1] - moments[0] >= 0.004
    assert abs(lines[0]["wall"] - time.time()) < 60


def test_a_caller_that_hangs_up_is_logged_as_abandoned_and_not_as_answered(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    with upstream("--latency-ms", "60000", "--log", str(log)) as connection:
        connection.request("POST", CALLS, ask("gone"))
        events(log, lambda kinds: "received" in kinds)
        connection.close()
        lines = events(log, lambda kinds: "abandoned" in kinds)
    assert [(line["event"], line["job"]) for line in lines] == [("received", "gone"), ("abandoned", "gone")]
