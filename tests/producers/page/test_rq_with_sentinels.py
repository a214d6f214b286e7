"""rq-dashboard at the primary that real Sentinels name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from openfall.producers.page.rq_pages import connect_dashboard
from tests.sentinel_group import SentinelGroup

pytestmark = pytest.mark.slow


def test_the_dashboard_reads_the_primary_that_the_sentinels_name() -> None:
    with tempfile.TemporaryDirectory(prefix="of-") as home:
        group = SentinelGroup(Path(home))
        try:
            group.start()
            with group.client(group.primary()) as client:
                client.set("here", "the primary")
            with connect_dashboard(group.server) as connection:
                assert connection.get("here") == b"the primary"
                assert connection.role()[0] == b"master"
        finally:
            group.close()
