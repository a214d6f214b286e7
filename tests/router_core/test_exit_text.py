"""How a process ended, in words."""

from __future__ import annotations

import pytest

from openfall.router_core.exit_text import describe_exit


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "exit status 0"), (3, "exit status 3"), (-9, "killed by SIGKILL"), (-15, "killed by SIGTERM"),
     (-40, "killed by signal 40"), (None, "exit status unknown")],
)  # fmt: skip
def test_a_process_that_a_signal_ended_was_killed(code: int | None, text: str) -> None:
    assert describe_exit(code) == text
