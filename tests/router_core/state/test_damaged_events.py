"""Events of a job that lack a field, or are of a newer openfall: the others are read, at their own index."""

from __future__ import annotations

import json

import pytest

from openfall.producers.job_event_text import describe_event
from openfall.producers.job_story import moments
from openfall.router_core.state.job_events import read_events
from openfall.router_core.state.unreadable_values import list_unreadable

NAMES = ("queued", "scheduled", "started", "fallen", "held", "degraded", "loading", "waiting", "writing", "put_back")


@pytest.mark.parametrize("more", [{}, {"at": "then"}, {"queue": 7, "backend": [], "reason": None, "position": "x"}])
@pytest.mark.parametrize("name", NAMES)
def test_an_event_without_what_its_readers_need_is_shown_as_unreadable_and_noted(fleet, name, more):
    async def story(f):
        await f.accept()
        f.store.rpush("of:events:job-00001", json.dumps({"event": name, **more}))
        events = await read_events(f.link, "job-00001")
        assert [event["event"] for event in events] == ["queued", "unreadable"]
        assert len(moments(await f.job_store.record("job-00001"), events)) == 2
        await f.link.load("note_unreadable")
        await f.link.command("PING")
        assert [value.place for value in await list_unreadable(f.link)] == ["of:events:job-00001"]

    fleet(story)


def test_an_event_of_a_newer_openfall_is_carried(fleet):
    async def story(f):
        await f.accept()
        f.store.rpush("of:events:job-00001", json.dumps({"event": "moonrise", "at": 1, "of": "moon"}))
        events = await read_events(f.link, "job-00001")
        assert events[1] == {"event": "moonrise", "at": 1, "of": "moon"}
        assert "moonrise" in [moment.text for moment in moments(await f.job_store.record("job-00001"), events)]
        assert describe_event(events[1])

    fleet(story)
