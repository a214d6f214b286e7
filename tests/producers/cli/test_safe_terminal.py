"""Text from outside is neither markup nor a command of the terminal. A pipe gets it as it is."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import console, echo, echo_marked, plain
from tests.producers.cli.conftest import ROOT, Run

HOSTILE = "[/INST] [red]no[/red] :smile: \x1b]0;owned\x07\x1b[2J\x9b1m\u202egpj.exe\rEVIL 日本"
SHOWN = r"[/INST] [red]no[/red] :smile: \x1b]0;owned\x07\x1b[2J\x9b1m\u202egpj.exe\x0dEVIL 日本"


class Screen:
    """What a terminal received."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    @property
    def text(self) -> str:
        return b"".join(self._parts).decode().replace("\r\n", "\n")

    def read_all(self, descriptor: int) -> None:
        try:
            while part := os.read(descriptor, 65536):
                self._parts.append(part)
        except OSError:
            pass  # its other end is closed


@contextmanager
def terminal() -> Iterator[tuple[Screen, int]]:
    screen, (master, slave) = Screen(), pty.openpty()
    reader = threading.Thread(target=screen.read_all, args=(master,))
    reader.start()
    try:
        yield screen, slave
    finally:
        os.close(slave)
        reader.join()
        os.close(master)


@contextmanager
def standard_output_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    with terminal() as (screen, slave), open(slave, "w", encoding="utf-8", closefd=False) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        yield screen
        stream.flush()
        monkeypatch.undo()


def test_text_from_outside_is_shown_escaped_on_a_terminal(monkeypatch):
    with standard_output_is_a_terminal(monkeypatch) as screen:
        echo(HOSTILE)
    assert screen.text == f"{SHOWN}\n"


def test_text_from_outside_goes_into_a_pipe_as_it_is(capfd):
    echo(HOSTILE)
    assert capfd.readouterr().out == f"{HOSTILE}\n"


def test_a_coloured_mark_is_the_only_escape_sequence_of_a_line(monkeypatch):
    with standard_output_is_a_terminal(monkeypatch) as screen:
        echo_marked("✓", "green", HOSTILE)
    assert screen.text == f"\x1b[32m✓\x1b[0m {SHOWN}\n"


def test_a_table_shows_markup_and_escape_sequences_as_text(monkeypatch):
    with standard_output_is_a_terminal(monkeypatch) as screen:
        show_table(("name", "why"), [("a[/red]", HOSTILE), ("模型😀", "short")])
    assert SHOWN in screen.text
    assert "a[/red]" in screen.text


def test_the_columns_of_a_table_stand_below_each_other_with_wide_characters(capsys):
    from rich.cells import cell_len

    show_table(("name", "why"), [("模型😀", "|x"), ("plain", "|y"), ("é", "|z")])
    lines = [line for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert len({cell_len(line.partition("|")[0]) for line in lines}) == 1


def test_a_console_takes_no_text_for_markup(monkeypatch):
    with standard_output_is_a_terminal(monkeypatch) as screen:
        console().print("[/INST] [bold]x :smile:")
        console().print(plain(HOSTILE), soft_wrap=True)
    assert screen.text == f"[/INST] [bold]x :smile:\n{SHOWN}\n"


def run_on_a_terminal(environment: dict[str, str], *args: str) -> tuple[int, str]:
    """The exit code of a command, and what its terminal received."""
    command = [sys.executable, "-m", "openfall.producers.cli", *args]
    environment = {**environment, "TERM": "xterm"}
    with terminal() as (screen, slave):
        streams = {"stdin": slave, "stdout": slave, "stderr": slave}
        ran = subprocess.run(command, env=environment, cwd=ROOT, **streams, check=False)
    return ran.returncode, screen.text


def test_an_answer_is_escaped_on_a_terminal_and_raw_on_request(environment, redis_url, answering) -> None:
    given = {**environment, "REDIS_URL": redis_url}
    for options in ((), ("--stream",), ("--no-stream",)):
        code, screen = run_on_a_terminal(given, "ask", HOSTILE, "-r", "chat", *options)
        assert code == 0
        assert f"echo {SHOWN}" in screen
        assert "\x1b]0;" not in screen
    _, screen = run_on_a_terminal(given, "ask", HOSTILE, "-r", "chat", "--raw", "--no-stream")
    assert f"echo {HOSTILE}" in screen


def test_an_answer_goes_into_a_pipe_as_it_is(openfall: Run, answering) -> None:
    assert openfall("ask", HOSTILE, "-r", "chat").stdout == f"echo {HOSTILE}\n"


@pytest.mark.parametrize("words", ["[/INST] x", "[/red]", "[bold", "a [link=http://x]b[/link]", HOSTILE])
def test_square_brackets_in_words_from_outside_break_no_command(openfall: Run, config_file, words) -> None:
    openfall("breakers", "force-open", "rack/tiny", "--reason", words)
    openfall("breakers", "force-open", "rack/other", "--reason", words)
    job = openfall("enqueue", "-", "-r", "chat", stdin="waits").stdout.strip()
    for command in (("breakers",), ("breakers", "--history"), ("models",), ("status",), ("job", "show", job),
                    ("job", "why", job), ("resolve", "dialogue", "--explain"), ("preflight",)):  # fmt: skip
        ran = openfall(*command)
        assert "unexpected" not in ran.stderr
        assert ran.returncode in (0, 1, 4)
    assert words.partition(" :")[0].split()[0] in openfall("breakers").stdout


def test_an_argument_of_a_wrong_command_line_is_shown_escaped(environment) -> None:
    code, screen = run_on_a_terminal(environment, "job", "shwo\x1b[2Jx")
    assert code == 2
    assert r"\x1b[2Jx" in screen.replace("\\\\", "\\")
    assert "\x1b[2Jx" not in screen


def test_json_on_a_terminal_is_escaped_and_has_the_same_value(environment, redis_url, answering) -> None:
    _, screen = run_on_a_terminal({**environment, "REDIS_URL": redis_url}, "ask", HOSTILE, "-r", "chat", "--json")
    document = next(line[line.index('{"') :] for line in screen.split("\n") if '{"' in line)
    assert json.loads(document)["text"] == f"echo {HOSTILE}"
    assert "\u202e" not in document
    assert "\x9b" not in document
