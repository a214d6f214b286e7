"""Notices to people and programs over real HTTP: their content, their rate, and the faults of a notifier."""

from __future__ import annotations

import json
from typing import Any

from openfall.router_core.state.incidents import close_incident
from openfall.workers.outbox.webhook_url_check import UrlPolicy


def fields(embed: dict[str, Any]) -> dict[str, str]:
    return {field["name"]: field["value"] for field in embed["fields"]}


def test_a_webhook_notice_is_signed_and_has_the_text_and_the_numbers(dispatching):
    async def story(harness, server):
        incident = harness.add_incident("outage", "webhook", held=0)
        await harness.run()
        update = f"notice:webhook:{incident}:update"
        for _ in range(2):
            harness.store.hincrby(f"of:incident:{incident}", "version", 1)
            harness.add_entry(update)
            await harness.run()
            assert harness.delays() == {update: 600}, "as often as new ones"
            harness.time[0] += 600
            await harness.run()
        assert await close_incident(harness.link, "outage", ())
        await harness.run()
        events = [json.loads(call.body) for call in server.calls_received]
        assert [event["type"] for event in events] == [
            "incident.began", "incident.updated", "incident.updated", "incident.recovered"]  # fmt: skip
        assert len({call.headers["webhook-id"] for call in server.calls_received}) == 4
        assert all("webhook-signature" in call.headers for call in server.calls_received)
        data = events[0]["data"]
        assert (data["id"], data["reason"], data["falls"], data["ended"]) == (incident, "outage", 2, None)
        assert (data["models"], data["causes"], data["seen"]) == ({"smol": 2}, {"timeout": 2}, {"canned_reply": 2})
        assert "openfall held list" in data["to_do"]
        assert events[-1]["data"]["text"].startswith("It lasted 20 min.")

    dispatching(story, webhook="{url}/hook")


def test_the_operators_own_url_may_be_internal_when_producers_urls_may_not(dispatching):
    async def story(harness, server):
        harness.add_incident("outage", "webhook")
        await harness.run()
        assert len(server.calls_received) == 1

    dispatching(story, webhook="{url}", url_policy=UrlPolicy())


def test_an_outage_is_one_discord_message_that_is_updated_and_one_at_its_end(discord_channel):
    async def story(harness, discord):
        incident = harness.add_incident()
        await harness.run()
        (embed,) = discord.embeds
        assert (embed["title"], embed["color"]) == ("No model can answer", 0xD92D20)
        assert fields(embed)["Jobs"] == "2 × interactive"
        assert fields(embed)["Callers saw"] == "2 × a canned reply"
        assert "openfall held list" in fields(embed)["What to do"]
        harness.store.hset(f"of:incident:{incident}", mapping={"falls": 9, "held": 0, "replayed": 8, "version": 7})
        harness.add_entry(f"notice:discord:{incident}:update")
        await harness.run()
        assert harness.delays() == {f"notice:discord:{incident}:update": 10}
        harness.time[0] += 10
        await harness.run()
        (embed,) = discord.embeds
        assert embed["description"] == "Jobs fell 9 times; 0 are held."
        assert await close_incident(harness.link, "outage", ())
        await harness.run()
        _, end = discord.embeds
        assert (end["title"], end["color"]) == ("Over: no model can answer", 0x12B76A)
        assert end["description"] == (
            "It lasted 10 s. Jobs fell 9 times; 8 came back, 0 ran out of time, 0 are still held."
        )
        assert [(method, path.rpartition("token")[2]) for method, path, _ in discord.requests] == [
            ("POST", "?thread_id=42&wait=true"),
            ("PATCH", f"/messages/{next(iter(discord.messages))}?thread_id=42"),
            ("POST", "?thread_id=42&wait=true"),
        ]
        assert all(body["allowed_mentions"] == {"parse": []} for _, _, body in discord.requests)
        assert harness.delays() == {}

    discord_channel(story)


def test_another_reason_is_amber_and_has_its_own_advice(discord_channel):
    async def story(harness, discord):
        harness.add_incident("poisoned")
        await harness.run()
        (embed,) = discord.embeds
        assert (embed["color"], embed["title"]) == (0xF79009, "A job kills its workers")
        assert "openfall held replay" in fields(embed)["What to do"]

    discord_channel(story)


def test_a_deleted_message_is_posted_again_and_updated(discord_channel):
    async def story(harness, discord):
        incident = harness.add_incident()
        await harness.run()
        discord.messages.clear()
        for version in (3, 4):
            harness.time[0] += 10
            harness.store.hset(f"of:incident:{incident}", "version", version)
            harness.add_entry(f"notice:discord:{incident}:update")
            await harness.run()
        assert len(discord.messages) == 1
        assert [method for method, _, _ in discord.requests] == ["POST", "PATCH", "POST", "PATCH"]

    discord_channel(story)


def test_discord_rate_limits_are_honoured_before_and_after_a_429(discord_channel):
    async def story(harness, discord):
        for number in range(7):
            harness.add_incident(f"reason{number}")
            await harness.run()
        assert len(discord.requests) == 5, "the fifth said that it was the last for now"
        assert sorted(harness.delays().values()) == [2.2, 2.2]
        harness.time[0] += 3
        discord.fault = "global"
        await harness.run()
        assert len(discord.requests) <= 7
        assert all(wait >= 5 for wait in harness.delays().values())
        discord.fault = ""
        harness.time[0] += 10
        await harness.run()
        assert (len(discord.messages), harness.delays()) == (7, {})

    discord_channel(story, rate_limit=(100, 600.0))


def test_after_a_discord_outage_the_beginning_is_reported_before_the_end(discord_channel, caplog):
    async def story(harness, discord):
        discord.fault = "down"
        incident = harness.add_incident(held=0)
        delays = []
        for _ in range(4):
            await harness.run()
            delays.append(harness.delays()[f"notice:discord:{incident}:began"])
            harness.time[0] += delays[-1]
        assert delays == [5, 10, 20, 40]
        assert await close_incident(harness.link, "outage", ())
        discord.fault = ""
        await harness.run()
        await harness.run()
        assert [embed["title"] for embed in discord.embeds] == ["No model can answer", "Over: no model can answer"]
        assert harness.delays() == {}

    discord_channel(story)
    assert "/token" not in caplog.text


def test_unreported_shorter_incidents_are_counted_in_the_next_notice(discord_channel):
    async def story(harness, discord):
        for _ in range(3):
            harness.add_incident(held=0)
            await harness.run()
            harness.time[0] += 10
            assert await close_incident(harness.link, "outage", ())
            await harness.run()
        harness.time[0] += 600
        await harness.run()
        harness.add_incident()
        await harness.run()
        assert len(discord.embeds) == 3, "the first, its end, and the last"
        assert "2 shorter incidents before it were not reported" in discord.embeds[-1]["description"]

    discord_channel(story)


def test_an_incident_with_long_texts_stays_within_discords_limits(discord_channel):
    async def story(harness, discord):
        many = {f"{kind}:{'n' * 200}🜂{number}": number for kind in "umcs" for number in range(60)}
        harness.add_incident("o" * 300, **many)
        await harness.run()
        assert len(discord.messages) == 1
        assert harness.delays() == {}

    discord_channel(story)


def test_an_unknown_discord_webhook_is_retried(discord_channel):
    async def story(harness, discord):
        harness.add_incident()
        await harness.run()
        assert list(harness.delays().values()) == [5]

    discord_channel(story, discord="http://127.0.0.1:1/api/webhooks/9/none")


def test_a_notice_is_given_up_after_three_days(discord_channel):
    async def story(harness, discord):
        discord.fault = "down"
        incident = harness.add_incident()
        await harness.run()
        harness.store.hset(f"of:outbox-entry:notice:discord:{incident}:began", "tries", 400)
        harness.time[0] += 3 * 86400
        await harness.run()
        assert harness.delays() == {}
        assert harness.store.hget("of:counters", "notice_given_up") == b"1"

    discord_channel(story)
