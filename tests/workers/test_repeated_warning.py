"""A failure that repeats four times a second has one line a minute. Another reason, or its end, has a line at once."""

from __future__ import annotations

import logging

import pytest

from openfall.workers.repeated_warning import RepeatedWarning

LOG = logging.getLogger("openfall.a-test")


def test_a_lasting_failure_has_a_line_at_its_begin_one_a_minute_and_one_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, LOG.name)
    now = 0.0
    warning = RepeatedWarning(LOG, "cannot claim", lambda: now)
    warning.end()
    for tick in range(4 * 130):
        now = tick / 4
        warning.warn(ConnectionError("nothing listens there"))
    warning.warn(ConnectionError("the data are being loaded"))
    warning.end()
    warning.end()
    warning.warn(ConnectionError("the data are being loaded"))
    assert caplog.messages == [
        "cannot claim: nothing listens there",
        "cannot claim, for 60 s now: nothing listens there",
        "cannot claim, for 120 s now: nothing listens there",
        "cannot claim: the data are being loaded",
        "cannot claim: the failure is over after 130 s",
        "cannot claim: the data are being loaded",
    ]
