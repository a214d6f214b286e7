"""The memory of a card over time: a day by the minute, a year by the hour."""

from __future__ import annotations

from openfall.router_core.state.card_memory import fetch_card_memory, note_card_memory

DAY, HOUR = 86400.0, 3600.0


async def memory(fleet, span_seconds):
    return (await fetch_card_memory(fleet.link, ["tower"], span_seconds, fleet.clock.now))["tower"]


def test_samples_of_a_minute_are_one_entry_with_their_mean_and_the_highest_sum(fleet):
    async def scenario(f):
        f.clock.now = 600_000.0
        for models_gb, others_gb in ((4.0, 1.0), (8.0, 1.0), (6.0, 4.0)):
            await note_card_memory(f.link, "tower", models_gb, others_gb, 24.0)
        f.clock.now += 60
        await note_card_memory(f.link, "tower", 2.0, 0.0, 0.0)
        first, second = await memory(f, HOUR)
        assert (first.at, first.models_gb, first.others_gb) == (600_000.0, 6.0, 2.0)
        assert (first.peak_gb, first.total_gb) == (10.0, 24.0)
        assert (second.at, second.models_gb, second.total_gb) == (600_060.0, 2.0, 0.0)
        (hour,) = await memory(f, 2 * DAY)
        assert (hour.at, hour.models_gb, hour.peak_gb) == (597_600.0, 5.0, 10.0)

    fleet(scenario)


def test_an_entry_of_the_day_before_is_not_shown_for_today(fleet):
    async def scenario(f):
        f.clock.now = 600_000.0
        await note_card_memory(f.link, "tower", 4.0, 0.0, 24.0)
        f.clock.now += DAY
        assert not await memory(f, HOUR)
        await note_card_memory(f.link, "tower", 8.0, 0.0, 24.0)
        (use,) = await memory(f, DAY)
        assert use.models_gb == 8.0
        hours = await memory(f, 2 * DAY)
        assert [use.models_gb for use in hours] == [4.0, 8.0]

    fleet(scenario)


def test_an_entry_that_another_program_wrote_is_left_out_and_written_again(fleet):
    async def scenario(f):
        f.clock.now = 600_000.0
        key = "of:card-memory:tower:minute"
        for text in ("rubbish", "10000 1 2 3", "10000 a b c d 1", "10000 1.1.1 2 3 4 1", "10000 nan inf 2 3 1"):
            await f.link.command("HSET", key, 10_000 % 1440, text)
            assert not await memory(f, 60)
            await note_card_memory(f.link, "tower", 4.0, 0.0, 24.0)
            assert await memory(f, 60)
        assert 0 < await f.link.command("TTL", key) <= DAY

    fleet(scenario)
