"""What each command prints, and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.producers.cli.conftest import Run, Start


def test_an_answer_goes_to_standard_output_and_its_receipt_to_standard_error(openfall: Run, answering: Any) -> None:
    ran = openfall("ask", "Haruka waves", "-r", "dialogue")
    assert (ran.returncode, ran.stdout) == (0, "echo Haruka waves\n")
    assert "tiny@here" in ran.stderr
    assert "3+4 tok $? · role dialogue: tiny first of 2]" in ran.stderr


def test_a_prompt_may_come_from_standard_input(openfall: Run, answering: Any) -> None:
    assert openfall("ask", "-", stdin="from a pipe").stdout == "echo from a pipe\n"


def test_an_answer_may_come_in_pieces_and_is_whole_in_the_end(openfall: Run, answering: Any) -> None:
    ran = openfall("ask", "a b c", "--stream")
    assert ran.stdout.strip() == "echo a b c"
    assert answering.jobs[0].stream


def test_an_answer_as_json_has_everything(openfall: Run, answering: Any) -> None:
    actual = json.loads(openfall("ask", "hi", "--json").stdout)
    assert actual["text"] == "echo hi"
    assert actual["status"] == "answered"
    assert actual["attempts"][0]["model"] == "tiny"


def test_a_failed_job_exits_with_1_and_says_why(openfall: Run, answering: Any) -> None:
    ran = openfall("ask", "fail: bad_request")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "failed (bad_request): it was asked to" in ran.stderr


def test_who_gives_up_waiting_gets_the_id_and_7(openfall: Run, worker_for: Callable[..., Any]) -> None:
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
        calls_received = threading.Event()
        while not client.llen("rq:queue:gpu.tiny.interactive"):
            assert not calls_received.wait(0.02)
            assert process.poll() is None
        calls_received.wait(0.3)  # it hears of the acceptance and begins to wait
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    job_id = err.split("openfall job wait ")[1].split()[0]
    with worker_for():
        assert openfall("job", "wait", job_id).stdout == "echo slow\n"


def test_nobody_to_answer_is_said_while_waiting(openfall: Run) -> None:
    ran = openfall("ask", "anyone?", "--wait", "5s")
    assert "no worker serves gpu.tiny.interactive" in ran.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("ask", "x", "-r", "dialog"), "unknown role 'dialog'. Did you mean 'dialogue'?"),
        (("ask", "x", "-m", "tinny"), "unknown model 'tinny'. Did you mean 'tiny'?"),
        (("ask", "x", "-u", "bach"), "unknown urgency 'bach'. Did you mean 'batch'?"),
        (("ask", "x", "--expires-in", "soon"), "not a duration: 'soon'"),
        (("ask", "x", "--wait", "soon"), "not a duration: 'soon'"),
        (("ask", "x", "--deadline", "2020-01-01T00:00:00Z"), "the server's clock says"),
        (("ask", "x", "--deadline", "2027-01-01"), "no time zone"),
        (("ask", " "), "the prompt is empty"),
        (("ask", "x" * 70_000), "more than the 64,000 allowed"),
        (("ask", "x", "--reply-to", "{bad"), "--reply-to is not JSON: key must be a string at line 1 column 2"),
        (("ask", "x", "--reply-to", "[1", "--inbox", "bot"), "--reply-to is not JSON"),
        (("ask", "x", "--reply-to", "room 7"), "`reply_to` needs an inbox or a webhook"),
        (("ask",), "Missing argument 'TEXT'"),
        (("asq", "x"), "Did you mean 'ask'?"),
        (("job", "show", "8f21"), "not a whole job id"),
        (("job", "show", "no-such-job"), "no job no-such-job"),
        (("batch", "run", "in.jsonl"), "Missing option '-o'"),
        (("batch", "run", "nowhere.jsonl", "-o", "out.jsonl"), "nowhere.jsonl cannot be read: No such file"),
        (("batch", "status", "nothing"), "no batch 'nothing'"),
        (("enqueue", "nowhere.txt"), "nowhere.txt cannot be read: No such file"),
        (("queues", "pause", "gpu.tiny.intractive"), "Did you mean 'gpu.tiny.interactive'?"),
        (("ask", "x", "--config", "missing.yaml"), "there is no such file"),
    ],
)
def test_a_mistake_is_told_with_its_remedy_and_exits_with_2(openfall: Run, args: tuple[str, ...], words: str) -> None:
    ran = openfall(*args)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert words in ran.stderr


def test_no_redis_exits_with_3(openfall: Run) -> None:
    for args in (("ask", "x"), ("status",), ("job", "show", "some-job-id"), ("held", "list")):
        ran = openfall(*args, url="redis://:hush@127.0.0.1:1")
        assert ran.returncode == 3
        assert "Redis does not answer at redis://:…@127.0.0.1:1: is it running?" in ran.stderr
        assert "hush" not in ran.stderr


def test_no_redis_at_all_says_how_to_get_one(openfall: Run) -> None:
    ran = openfall("ask", "x", url="")
    assert ran.returncode == 3
    assert "Start it with `openfall up`" in ran.stderr


def test_a_wrong_password_is_told_as_one(openfall: Run, server: Any) -> None:
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        client.config_set("requirepass", "right")
    ran = openfall("ask", "x", url=f"unix://:wrong@{server.socket}")
    assert ran.returncode == 3
    assert "wrong password" in ran.stderr
    assert ":wrong@" not in ran.stderr


def test_what_nobody_foresaw_is_one_line_and_a_log(
    openfall_process: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    (broken / "redis").mkdir(parents=True)
    (broken / "redis" / "__init__.py").write_text("raise RuntimeError('of the test')")
    environment["PYTHONPATH"] = f"{broken}:{environment['PYTHONPATH']}"
    environment["TMPDIR"] = str(tmp_path)
    ran = openfall_process("ask", "x")
    assert ran.returncode == 1
    assert "unexpected error (RuntimeError: of the test). Details: " in ran.stderr
    log = Path(ran.stderr.split("Details: ")[1].strip())
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_strict_tells_a_fallback_by_its_exit_code(openfall: Run, worker_for: Callable[..., Any]) -> None:
    with worker_for(hand_off=True):
        ran = openfall("ask", "x", "-r", "dialogue", "--strict")
    assert (ran.returncode, ran.stdout) == (6, "echo x\n")
    assert "tiny did not answer (overloaded), so the next in its chain did" in ran.stderr


def test_a_prompt_is_put_in_and_its_id_printed(openfall: Run) -> None:
    ran = openfall("enqueue", "-r", "tags", stdin="later")
    assert ran.returncode == 0
    shown = openfall("job", "show", ran.stdout.strip())
    assert "queued" in shown.stdout
    assert "gpu.other.batch" in shown.stdout
    actual = json.loads(openfall("job", "show", ran.stdout.strip(), "--json").stdout)
    assert actual["queue"] == "gpu.other.batch"
    assert "body" not in actual["job"]


def test_lines_are_put_in_each_by_itself(openfall: Run, tmp_path: Path) -> None:
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


def test_a_cancelled_job_is_told(openfall: Run) -> None:
    job_id = openfall("enqueue", stdin="x").stdout.strip()
    assert "is cancelled" in openfall("job", "cancel", job_id).stdout
    assert "had ended already" in openfall("job", "cancel", job_id).stdout
    ran = openfall("job", "wait", job_id)
    assert ran.returncode == 1
    assert "cancelled by its caller" in ran.stderr


def test_status_is_one_sentence_and_a_table(openfall: Run, worker_for: Callable[..., Any]) -> None:
    assert openfall("status").stdout == "Nothing waits, and no worker is alive.\n"
    openfall("enqueue", "-r", "tags", stdin="x")
    ran = openfall("status")
    assert ran.stdout.startswith("1 job waits, and no worker is alive: start one with `openfall up`")
    assert "gpu.other.batch" in ran.stdout
    actual = json.loads(openfall("status", "--json").stdout)
    assert actual["waiting_by_urgency"]["batch"] == 1
    with worker_for():
        openfall("ask", "x")
        assert openfall("status").stdout.startswith("Nothing waits; 1 worker ready.")
        assert "answering-worker" in openfall("workers").stdout
        assert json.loads(openfall("workers", "--json").stdout)[0]["alive"] is True


@pytest.mark.parametrize(
    "args",
    [("status",), ("status", "--json"), ("--help",), ("ask", "--stream", "one two"), ("enqueue", "-")],
    ids=" ".join,
)
@pytest.mark.usefixtures("answering")
def test_a_reader_that_leaves_ends_a_command_quietly(
    environment: dict[str, str], redis_url: str, tmp_path: Path, args: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = _with_output(writer, {**environment, "REDIS_URL": redis_url}, tmp_path, args)
    os.close(writer)
    assert ran.returncode == 141, ran.stderr
    assert not [row for row in ran.stderr.splitlines() if "openfall" in row or "Error" in row]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("args", [("status",), ("status", "--json"), ("--help",)], ids=" ".join)
def test_a_full_standard_output_is_one_line(
    environment: dict[str, str], redis_url: str, tmp_path: Path, args: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = _with_output(full.fileno(), {**environment, "REDIS_URL": redis_url}, tmp_path, args)
    assert ran.stderr == "openfall: cannot write standard output: No space left on device\n"
    assert ran.returncode == 1


def _with_output(
    output: int, environment: dict[str, str], home: Path, args: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "openfall.producers.cli", *args]
    return subprocess.run(
        command, stdout=output, stderr=subprocess.PIPE, input="a prompt", text=True,
        env=environment, cwd=home, timeout=60, check=False,
    )  # fmt: skip


def test_a_queue_is_paused_and_goes_on(openfall: Run) -> None:
    assert "is paused" in openfall("queues", "pause", "gpu.tiny.interactive").stdout
    assert "was paused already" in openfall("queues", "pause", "gpu.tiny.interactive").stdout
    assert "paused: gpu.tiny.interactive" not in openfall("status").stdout  # nothing has ever waited there
    openfall("enqueue", stdin="x")
    assert "paused: gpu.tiny.interactive" in openfall("status").stdout
    assert "is resumed" in openfall("queues", "resume", "gpu.tiny.interactive").stdout
    assert "gpu.tiny.interactive" in openfall("queues").stdout


def test_all_queues_that_fit_a_pattern_are_paused_and_go_on(openfall: Run) -> None:
    openfall("queues", "pause", "gpu.tiny.batch")
    assert openfall("queues", "pause", "*.batch").stdout.splitlines() == [
        "gpu.tiny.batch was paused already", "gpu.other.batch is paused"]  # fmt: skip
    assert openfall("queues", "resume", "gpu.other.*").stdout == "gpu.other.batch is resumed\n"
    assert openfall("queues", "resume", "gpu.*").stdout == "gpu.tiny.batch is resumed\n"
    assert len(openfall("queues", "resume", "gpu.*").stdout.splitlines()) == 6
    lost = openfall("queues", "pause", "gpu.*.bach")
    assert (lost.returncode, lost.stdout) == (2, "")
    assert "unknown queue 'gpu.*.bach'" in lost.stderr


def test_what_is_not_accepted_is_told_with_the_remedy(openfall: Run, store: Any) -> None:
    store.set("of:memory-pressure", "Redis uses 9 MiB of its 10 MiB of memory (maxmemory)")
    for refused in (openfall("ask", "x"), openfall("enqueue", stdin="x")):
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "openfall: Redis uses 9 MiB" in refused.stderr
        assert "Try again in 5 s" in refused.stderr
    assert "No job is accepted: Redis uses 9 MiB" in openfall("status").stdout


def test_work_is_done_by_the_workers_process_with_all_its_options(openfall_process: Run) -> None:
    ran = openfall_process("work", "gpuu", "--burst", "--slots", "2")
    assert ran.returncode == 2
    assert "unknown pool 'gpuu'. Did you mean 'gpu'?" in ran.stderr


def test_up_starts_what_is_configured_once_and_stops_it_in_good_order(
    start: Start, openfall: Run, openfall_process: Run
) -> None:
    with start("up") as process:
        assert process.stderr is not None
        wording = [process.stderr.readline()]
        while "Everything runs" not in wording[-1]:
            assert wording[-1], wording
            wording.append(process.stderr.readline())
        second = openfall_process("up")
        answer = openfall("status").stdout
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=40)
    assert any("worker-gpu-1" in line and "ready" in line for line in wording)
    assert answer.startswith("Nothing waits; 2 workers ready.")
    assert second.returncode == 1
    assert "already runs" in second.stderr
    assert process.returncode == 0


def test_up_with_a_faulty_configuration_shows_the_childs_error_and_exits_as_it_does(openfall_process: Run) -> None:
    ran = openfall_process("up", "--config", "missing.yaml")
    assert ran.returncode == 2
    assert "there is no such file" in ran.stderr


def test_up_as_json_passes_the_events_on(start: Start) -> None:
    with start("up", "--json") as process:
        assert process.stdout is not None
        events = [json.loads(process.stdout.readline())]
        while events[-1]["event"] != "fleet_ready":
            events.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=40)
    assert json.loads(out.splitlines()[-1]) == {"event": "fleet_stopped", "code": 0}
    assert process.returncode == 0


def test_help_is_there_for_every_command(openfall: Run) -> None:
    assert "openfall [OPTIONS] COMMAND" in openfall("--help").stdout
    for command in ("up", "ask", "enqueue", "job", "batch", "status", "queues", "workers", "held", "work"):
        assert "Usage:" in openfall(command, "--help").stdout


def imported_by(environment: dict[str, str], *args: str) -> set[str]:
    """The modules that a process has imported after a command."""
    code = (
        "import sys, openfall.producers.cli as cli\n"
        f"try: cli.main({args!r})\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=True)
    return set(ran.stderr.splitlines()[-1].split())


def test_help_imports_no_command_and_nothing_slow(environment: dict[str, str]) -> None:
    slow = {"rich", "redis", "pydantic", "yaml", "asyncio", "openfall.config", "openfall.router_core",
            "openfall.producers.cli.ask"}  # fmt: skip
    assert not slow & imported_by(environment, "--help")


@pytest.mark.parametrize("args", [("ask", "x", "--wait", "1ms"), ("status",), ("models",)], ids=" ".join)
def test_a_command_for_users_imports_no_worker_code(
    environment: dict[str, str], redis_url: str, args: tuple[str, ...]
) -> None:
    modules = imported_by({**environment, "REDIS_URL": redis_url}, *args)
    assert "openfall.producers.client" in modules
    assert not {module for module in modules if module.startswith(("openfall.workers", "aiohttp"))}
