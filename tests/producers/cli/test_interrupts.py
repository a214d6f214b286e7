"""What Ctrl-C says about the jobs of a command: whether they were accepted, and how to see and cancel them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from openfall.producers.cli.submission import Submission
from tests.producers.cli.batch_files import line
from tests.producers.cli.conftest import Run, Start

ID = "0123456789abcdef"


@pytest.mark.parametrize(
    ("sent", "accepted", "words"),
    [
        (False, False, "nothing was submitted"),
        (
            True, False,
            f"Redis has not confirmed job {ID}. Whether it was accepted: openfall job show {ID}\n"
            f"To cancel it: openfall job cancel {ID}",
        ),
        (
            True, True,
            f"job {ID} continues. Its answer: openfall job wait {ID}\nTo cancel it: openfall job cancel {ID}",
        ),
    ],
    ids=["not sent", "sent", "accepted"],
)  # fmt: skip
def test_ctrl_c_says_whether_a_job_was_accepted(
    capsys: pytest.CaptureFixture[str], sent: bool, accepted: bool, words: str
) -> None:
    submission = Submission(ID, is_sent=sent, is_accepted=accepted)
    with pytest.raises(click.exceptions.Exit) as exit_, submission.explain_interrupt():
        raise KeyboardInterrupt
    assert (exit_.value.exit_code, capsys.readouterr().err.strip()) == (130, words)


def test_ctrl_c_while_modules_are_imported_ends_the_process() -> None:
    """An import has callbacks in which Python drops an exception: the command would go on and submit its job."""
    program = """
import signal, weakref
from openfall.producers.cli.early_interrupt import exit_at_once_on_interrupt, raise_on_interrupt
class Lock: pass
exit_at_once_on_interrupt()
raise_on_interrupt()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    exit_at_once_on_interrupt()
lock = Lock()
callback = weakref.ref(lock, lambda _: signal.raise_signal(signal.SIGINT))
del lock
print("went on")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_in_the_background_of_a_script_a_signal_says_so_too(
    environment: dict[str, str], tmp_path: Path, redis_url: str, store: Any, number: signal.Signals
) -> None:
    """A shell starts it with an ignored SIGINT."""
    program = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from openfall.producers.cli import main
main(["ask", "x", "-u", "background"])
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path, env={**environment, "REDIS_URL": redis_url}, text=True, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        end = time.monotonic() + 60
        while not store.exists("of:counters"):
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "To cancel it: openfall job cancel" in err


def test_the_id_of_a_job_is_that_which_ctrl_c_would_name(openfall: Run) -> None:
    first, again = (openfall("enqueue", "-", "--key", "night-1", stdin="a lantern").stdout for _ in range(2))
    assert first == again, "a job that joins another has the id of that one"
    assert openfall("job", "show", first.strip()).stdout.startswith(first.strip())


def test_enqueue_that_is_interrupted_in_a_file_tells_which_lines_are_submitted(
    start: Start, openfall: Run, tmp_path: Path
) -> None:
    total = 4000
    (tmp_path / "in.jsonl").write_text("".join(f"{line(f'line-{n}', 'x')}\n" for n in range(total)))
    with start("enqueue", "in.jsonl") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.stdout.read(), process.stderr.read()  # `communicate` loses what `readline` read ahead
        process.wait(60)
    ids = [first.strip(), *out.split()]
    assert process.returncode == 130, "the first 500 ids come before the other lines are sent"
    (accepted,) = re.findall(r"^([\d,]+) of 4,000 lines submitted\. Their ids are above", err, re.M)
    assert int(accepted.replace(",", "")) == len(ids) < total
    assert re.search(r"^not submitted: line [\d,]+ and all after it$", err, re.M)
    assert "To cancel a job: openfall job cancel ID" in err
    assert openfall("job", "show", ids[-1]).stdout.startswith(ids[-1])
