"""How commands fail: a mistake, an unreachable Redis, a refused job, an output that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.producers.cli.conftest import Run


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("ask", "x", "-r", "dialog"), "unknown role 'dialog'. Did you mean 'dialogue'?"),
        (("ask", "x", "-m", "tinny"), "unknown model 'tinny'. Did you mean 'tiny'?"),
        (("ask", "x", "-u", "bach"), "unknown urgency 'bach'. Did you mean 'batch'?"),
        (("ask", "x", "--expires-in", "soon"), "`--expires-in` is not a duration: 'soon'"),
        (("ask", "x", "--wait", "soon"), "`--wait` is not a duration: 'soon'"),
        (("ask", "x", "--wait", "0"), "`--wait` must be more than 0, not '0'"),
        (("budgets", "raise", "daily", "two"), "Invalid value for 'USD': 'two' is not a number."),
        (("ask", "x", "--reply-to", "[nope"), "a value must be text in double quotes, a number, true"),
        (("ask", "x", "--deadline", "soon"), "`--deadline` is not a moment: 'soon'"),
        (("ask", "x", "--deadline", "2020-01-01T00:00:00Z"), "the server's clock says"),
        (("ask", "x", "--deadline", "2027-01-01"), "`--deadline` has no time zone"),
        (("stats", "--day", "today"), "`--day`: 'today' is no day such as 2026-11-21"),
        (("ask", " "), "the prompt is empty"),
        (("ask", "x" * 70_000), "more than the 64,000 allowed"),
        (("ask", "x", "--reply-to", "{bad"), "--reply-to is not JSON: a key must be in double quotes at column 2"),
        (("ask", "x", "--reply-to", "[1", "--inbox", "bot"), "--reply-to is not JSON"),
        (("ask", "x", "--reply-to", "room 7"), "`reply_to` needs an inbox or a webhook"),
        (("ask",), "Missing argument 'TEXT'"),
        (("asq", "x"), "Did you mean 'ask'?"),
        (("ask", "Haruka", "waves"), 'stands in quotes: openfall ask "Haruka waves". See'),
        (("config", "check", "openfall.yaml"), "A configuration is named by an option: --config FILE. See"),
        (("start",), "Did you mean 'up'?"),
        (("stop",), "Ctrl-C ends 'up'. One worker: 'openfall workers stop NAME'."),
        (("job", "show", "8f21"), "and no id begins so. `openfall job list` shows the jobs"),
        (("job", "show", "8f2"), "type at least 4 letters of the id"),
        (("job", "show", "no-such-job"), "no job no-such-job"),
        (("batch", "run", "in.jsonl"), "Missing option '-o'"),
        (("batch", "run", "nowhere.jsonl", "-o", "out.jsonl"), "nowhere.jsonl cannot be read: No such file"),
        (("batch", "status", "nothing"), "no batch 'nothing'"),
        (("enqueue", "nowhere.txt"), "there is no file 'nowhere.txt'. For a prompt as text: echo"),
        (("queues", "pause", "gpu.tiny.intractive"), "Did you mean 'gpu.tiny.interactive'?"),
        (("ask", "x", "--config", "missing.yaml"), "there is no such file"),
    ],
)
def test_a_mistake_is_reported_with_its_remedy_and_exits_with_2(
    openfall: Run, args: tuple[str, ...], words: str
) -> None:
    ran = openfall(*args)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert words in ran.stderr


@pytest.mark.parametrize(
    ("args", "command", "words"),
    [
        (("ask",), "openfall ask", "Missing argument 'TEXT'."),
        (("asq", "x"), "openfall", "no command 'asq'. Did you mean 'ask'?"),
        (("statsu",), "openfall", "no command 'statsu'. Did you mean 'stats' or 'status'?"),
        (("version",), "openfall", "no command 'version'. Did you mean '--version'?"),
        (("help", "asq"), "openfall", "no command 'asq'. Did you mean 'ask'?"),
        (("status", "--foo"), "openfall status", "No such option '--foo'."),
        (("serve", "--port", "80"), "openfall serve", "`gateway: {listen: [...]}`, or OPENFALL_PORT without a file."),
        (("job", "list", "--limit", "x"), "openfall job list", "'x' is not a whole number."),
        (("stats", "--day", "1", "--month", "2"), "openfall stats", "name a day or a month, not both."),
        (("inbox", "--ack"), "openfall inbox", "--follow and --ack need the NAME of an inbox."),
        (("held", "no\nsuch"), "openfall held", r"No such command 'no\nsuch'."),
    ],
)
def test_a_usage_error_is_one_line_and_names_the_help(
    openfall: Run, args: tuple[str, ...], command: str, words: str
) -> None:
    ran = openfall(*args)
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"{command}: ")
    assert line.endswith(f"{words} See `{command} --help`.")


@pytest.mark.parametrize("args", [(), ("ask",), ("job", "why")])
def test_help_is_a_command_too(openfall: Run, args: tuple[str, ...]) -> None:
    command, option = openfall("help", *args), openfall(*args, "--help")
    assert (command.returncode, command.stdout, command.stderr) == (0, option.stdout, "")


@pytest.mark.parametrize(("args", "command"), [((), "init"), (("job",), "list")])
def test_a_group_without_a_command_shows_its_help_line_by_line(
    openfall: Run, args: tuple[str, ...], command: str
) -> None:
    ran = openfall(*args)
    assert ran.returncode == 2
    assert ran.stderr.startswith("Usage: openfall")
    assert any(line.startswith(f"  {command} ") for line in ran.stderr.splitlines())


KEYLESS = """
redis: redis://127.0.0.1:1
backends:
  api: {protocol: openai, pool: cloud, api_key: "${API_KEY:-}"}
  other: {protocol: anthropic, pool: paid, api_key: "${OTHER_KEY:-}"}
pools: {cloud: {}, paid: {}}
models: {a: {upstream: a, backends: [api]}, b: {upstream: b, backends: [other]}}
"""


def test_up_and_work_name_the_key_that_a_backend_lacks(tmp_path: Path) -> None:
    (tmp_path / "openfall.yaml").write_text(KEYLESS)
    remedy = "{0} has no key. Set {1}, in the environment or in .env."
    api, other = remedy.format("api", "API_KEY"), remedy.format("other", "OTHER_KEY")
    for arguments, named in ((("work", "cloud"), [True, False]), (("up",), [True, True])):
        command = [sys.executable, "-m", "openfall.producers.cli", *arguments]
        environ = {"HOME": str(tmp_path), **{name: os.environ[name] for name in ("PATH", "SSL_CERT_FILE")}}
        ran = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environ, timeout=60, check=False
        )
        assert ran.returncode == 3
        assert [api in ran.stderr, other in ran.stderr] == named
        assert "Traceback" not in ran.stderr


def test_no_redis_exits_with_3(openfall: Run) -> None:
    for args in (("ask", "x"), ("status",), ("job", "show", "some-job-id"), ("held", "list")):
        ran = openfall(*args, url="redis://:hush@127.0.0.1:1")
        assert ran.returncode == 3
        assert "Redis does not answer at redis://:…@127.0.0.1:1: is it running?" in ran.stderr
        assert "hush" not in ran.stderr


def test_without_a_redis_address_the_error_names_the_remedy(openfall: Run) -> None:
    ran = openfall("ask", "x", url="")
    assert ran.returncode == 3
    assert "`openfall up` does not run here" in ran.stderr


def test_a_wrong_password_is_reported_without_showing_it(openfall: Run, server: Any) -> None:
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        client.config_set("requirepass", "right")
    ran = openfall("ask", "x", url=f"unix://:wrong@{server.socket}")
    assert ran.returncode == 3
    assert "wrong password" in ran.stderr
    assert ":wrong@" not in ran.stderr


def test_an_unexpected_error_is_one_line_and_a_log(
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


def test_a_refused_job_is_reported_with_the_remedy(openfall: Run, store: Any) -> None:
    store.set("of:memory-pressure", "Redis uses 9 MiB of its 10 MiB of memory (maxmemory)", ex=60)
    for refused in (openfall("ask", "x"), openfall("enqueue", stdin="x")):
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "openfall: Redis uses 9 MiB" in refused.stderr
        assert "Try again in 5 s" in refused.stderr
    assert "- Redis uses 9 MiB of its 10 MiB of memory" in openfall("status").stdout
