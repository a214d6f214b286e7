"""Commands for a person to type, with names that another program wrote."""

from __future__ import annotations

import subprocess

import pytest

from openfall.producers.shell_command import shell_command, shell_word
from openfall.producers.worker_log_text import describe_log, start_command_of

HOSTILE = (
    "tower", "two words", "it's", "a;reboot", "$(reboot)", "`reboot`", "a|b>c", "a\nreboot", "a\rreboot", "\x1b[2Ja",
    "\u202etxt", "\u200bx", "back\\slash", "tab\there", "", "*", "~", "#x", "ü€😀", "a\x9bb", "!!",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_name_is_one_word_of_a_shell_whatever_it_contains(name: str) -> None:
    typed = shell_command("printf '%s\\0'", name)
    environment = {"LC_ALL": "C.UTF-8"}
    printed = subprocess.run(["bash", "-c", typed], capture_output=True, check=True, env=environment).stdout
    assert printed == name.encode() + b"\0"


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_word_shows_what_it_contains(name: str) -> None:
    word = shell_word(name)
    assert word.isprintable()
    assert "\u202e" not in word


def test_a_name_that_looks_like_an_option_stands_behind_two_dashes() -> None:
    assert shell_command("openfall held drop", "--all", "b") == "openfall held drop -- --all b"
    assert shell_command("openfall held drop", "a-b") == "openfall held drop a-b"


@pytest.mark.parametrize(
    ("log", "start"),
    [
        ("journalctl --unit openfall-work@gpu.service _PID=7", "systemctl restart openfall-work@gpu.service"),
        (r"journalctl --unit of\x2dwork.service _PID=7", r"systemctl restart 'of\x2dwork.service'"),
        ("docker logs b0x.1", "docker start b0x.1"),
        ("kubectl logs --previous worker-0", "openfall work gpu"),
        ("/data/log/worker-gpu-1.log", "openfall up, or openfall work gpu"),
        ("journalctl --unit 'openfall-work@*' _PID=7", "openfall work gpu"),
    ],
)  # fmt: skip
def test_the_log_of_a_worker_says_how_it_was_started(log: str, start: str) -> None:
    assert (describe_log(log), start_command_of(log, "gpu")) == (log, start)


@pytest.mark.parametrize(
    "log",
    [
        "journalctl --unit x.service;reboot", "journalctl --unit $(reboot).service",
        "journalctl --unit x.service\nreboot",
        "docker logs x;reboot", "docker logs -f", "docker logs x\n", "kubectl logs --previous x y", "less x; reboot",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_log_field_that_is_no_known_command_is_a_file_of_that_name(log: str) -> None:
    assert describe_log(log) == shell_word(log)
    assert start_command_of(log, "a b") == "openfall work 'a b'"
