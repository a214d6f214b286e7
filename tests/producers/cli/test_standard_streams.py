"""Standard streams that are closed, full, or lack characters; Ctrl-C; options before the command. No traceback ever."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.producers.cli.conftest import Run, Start

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
shows = pytest.mark.parametrize("args", [("config", "show"), ("config", "check", "--json"), ("--help",)], ids=" ".join)


def run_in_shell(
    environment: dict[str, str], home: Path, command: str, *args: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs `command`, in which "$@" is an `openfall` command, in bash."""
    argv = ["bash", "-c", command, "bash", sys.executable, "-m", "openfall.producers.cli", *args]
    given = {**environment, "REDIS_URL": "redis://127.0.0.1:1", **variables}
    ran = subprocess.run(
        argv, input="a prompt", capture_output=True, encoding="utf-8", env=given, cwd=home, timeout=60, check=False
    )
    assert "Traceback" not in ran.stderr
    return ran


@pytest.mark.parametrize(
    "args",
    [("status",), ("status", "--json"), ("--help",), ("ask", "--stream", "one two"), ("enqueue", "-")],
    ids=" ".join,
)
@pytest.mark.usefixtures("answering")
def test_a_closed_pipe_ends_a_command_without_a_message(
    environment: dict[str, str], redis_url: str, tmp_path: Path, args: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = _with_output(writer, {**environment, "REDIS_URL": redis_url}, tmp_path, args)
    os.close(writer)
    assert ran.returncode == 141, ran.stderr
    assert not [row for row in ran.stderr.splitlines() if "openfall" in row or "Error" in row]


@needs_dev_full
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("args", [("status",), ("status", "--json"), ("--help",)], ids=" ".join)
def test_a_full_standard_output_is_reported_in_one_line(
    environment: dict[str, str], redis_url: str, tmp_path: Path, args: tuple[str, ...], unbuffered: str
) -> None:
    environment["PYTHONUNBUFFERED"] = unbuffered
    with Path("/dev/full").open("wb") as full:
        ran = _with_output(full.fileno(), {**environment, "REDIS_URL": redis_url}, tmp_path, args)
    assert ran.stderr == "openfall: cannot write standard output: No space left on device\n"
    assert ran.returncode == 1


@needs_dev_full
def test_a_new_key_that_was_not_written_is_named_with_the_remedy(
    environment: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = _with_output(full.fileno(), {**environment, "REDIS_URL": redis_url}, tmp_path, ("keys", "new", "bot"))
    assert ran.stderr.splitlines() == [
        "the key 'bot' is created, and lost: run `openfall keys revoke bot`, then create it again",
        "openfall: cannot write standard output: No space left on device",
    ]
    assert ran.returncode == 1


@needs_dev_full
def test_jobs_whose_ids_were_not_written_are_counted_and_go_on(
    environment: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = _with_output(full.fileno(), {**environment, "REDIS_URL": redis_url}, tmp_path, ("enqueue",))
    assert ran.stderr.splitlines() == [
        "1 job is accepted, and goes on: `openfall job list` shows the ids",
        "openfall: cannot write standard output: No space left on device",
    ]
    assert ran.returncode == 1


def _with_output(
    output: int, environment: dict[str, str], home: Path, args: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "openfall.producers.cli", *args]
    return subprocess.run(
        command, stdout=output, stderr=subprocess.PIPE, input="a prompt", text=True,
        env=environment, cwd=home, timeout=60, check=False,
    )  # fmt: skip


@shows
def test_a_closed_standard_output_is_reported_in_one_line(
    environment: dict[str, str], tmp_path: Path, args: tuple[str, ...]
) -> None:
    ran = run_in_shell(environment, tmp_path, '"$@" >&-', *args)
    assert ran.stderr == "openfall: cannot write standard output: Bad file descriptor\n"
    assert ran.returncode == 1


def check_result(ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 0
    assert "gpu" in ran.stdout or "Usage:" in ran.stdout or '"valid":true' in ran.stdout


@shows
def test_a_closed_standard_error_changes_no_result(
    environment: dict[str, str], tmp_path: Path, args: tuple[str, ...]
) -> None:
    check_result(run_in_shell(environment, tmp_path, '"$@" 2>&-', *args))


@needs_dev_full
@shows
def test_a_full_standard_error_changes_no_result(
    environment: dict[str, str], tmp_path: Path, args: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "openfall.producers.cli", *args]
    given = {**environment, "REDIS_URL": "redis://127.0.0.1:1"}
    with Path("/dev/full").open("wb") as full:
        check_result(subprocess.run(
            command, stdout=subprocess.PIPE, stderr=full, env=given, cwd=tmp_path, text=True, timeout=60, check=False
        ))  # fmt: skip


def test_a_closed_standard_input_is_reported_in_words(environment: dict[str, str], tmp_path: Path) -> None:
    ran = run_in_shell(environment, tmp_path, '"$@" <&-', "ask", "-")
    assert ran.returncode == 2
    assert "standard input cannot be read" in ran.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["text", "json"])
def test_a_terminal_without_a_character_shows_it_escaped(
    environment: dict[str, str], tmp_path: Path, encoding: str, as_json: tuple[str, ...]
) -> None:
    missing = os.fsdecode("röle🦊".encode() + b"\xff.yaml")
    args = ("config", "check", "--config", missing, *as_json)
    ran = run_in_shell(environment, tmp_path, '"$@" | cat -v', *args, PYTHONIOENCODING=encoding, LC_ALL="C")
    assert "there is no such file" in ran.stdout
    if as_json and encoding != "utf-8":
        (problem,) = json.loads(ran.stdout.replace("M-v", "ö"))["problems"]
        assert problem["file"] == "röle🦊\udcff.yaml"


def test_a_standard_output_that_another_program_made_non_blocking_gets_everything(
    environment: dict[str, str], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen(
        [sys.executable, "-m", "openfall.producers.cli", "config", "schema"],
        stdout=writer, stderr=subprocess.PIPE, env=environment, cwd=tmp_path,
    ) as process:  # fmt: skip
        os.close(writer)
        os.set_blocking(reader, True)
        with os.fdopen(reader, "rb") as output:
            assert json.load(output)["title"] == "openfall"
        assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0


def test_ctrl_c_while_a_command_reads_its_input_says_that_nothing_was_submitted(
    environment: dict[str, str], start: Start, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "prompt")
    with start("enqueue", "prompt") as process, (tmp_path / "prompt").open("w"):  # opens when the command reads it
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, "", "nothing was submitted")


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGHUP])
def test_a_question_that_is_interrupted_before_it_is_sent_says_that_nothing_was_submitted(
    start: Start, ended_by: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and never answers
        silent.settimeout(60)
        with start("ask", "x", url=f"redis://127.0.0.1:{silent.getsockname()[1]}") as process:
            connection, _ = silent.accept()
            process.send_signal(ended_by)
            out, err = process.communicate(timeout=60)
            connection.close()
    assert (process.returncode, out, err.strip()) == (130, "", "nothing was submitted")


@pytest.mark.parametrize("module", ["click", "tempfile", "yaml", "redis"])
def test_ctrl_c_while_a_command_is_imported_has_no_traceback(
    environment: dict[str, str], tmp_path: Path, module: str
) -> None:
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / f"{module}.py").write_text("raise KeyboardInterrupt")
    environment["PYTHONPATH"] = f"{tmp_path / 'early'}:{environment['PYTHONPATH']}"
    ran = run_in_shell(environment, tmp_path, '"$@"', "status")
    assert (ran.returncode, ran.stdout, ran.stderr.strip()) == (130, "", "")


@pytest.mark.parametrize(
    "args",
    [
        ("--config", "other.yaml", "config", "check"),
        ("config", "--config", "other.yaml", "check"),
        ("config", "check", "--config", "other.yaml"),
        ("--config", "no.yaml", "config", "check", "--config", "other.yaml"),
    ],
    ids=" ".join,
)
def test_the_configuration_may_be_named_before_the_command_or_behind_it(
    openfall: Run, config_file: Path, tmp_path: Path, args: tuple[str, ...]
) -> None:
    (tmp_path / "other.yaml").write_bytes(config_file.read_bytes())
    ran = openfall(*args)
    assert ran.returncode == 0
    assert "other.yaml: valid" in ran.stderr


@pytest.mark.parametrize(
    "args", [("--json", "status"), ("status", "--json"), ("--json", "queues"), ("--json", "workers")]
)
def test_json_may_be_requested_before_the_command_or_behind_it(openfall: Run, args: tuple[str, ...]) -> None:
    assert isinstance(json.loads(openfall(*args).stdout), dict | list)


def test_an_option_before_work_or_up_reaches_its_process(openfall_process: Run) -> None:
    for command in (("work", "gpu"), ("up",)):
        ran = openfall_process("--config", "no.yaml", *command)
        assert ran.returncode == 2
        assert "no.yaml: there is no such file" in ran.stderr


def test_a_refusal_of_the_system_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    ran = run_in_shell(environment, tmp_path, '(ulimit -n 6; exec "$@")', "status")
    assert ran.returncode == 1
    assert ran.stderr.rstrip().endswith(": Too many open files")
    assert len(ran.stderr.splitlines()) == 1
