"""Notices to people and programs on real HTTP: what is told, how often, and what an angry notifier costs."""

from __future__ import annotations

import json
from typing import Any

from openfall.router_core.state.incidents import close_incident
from openfall.workers.outbox.url_policy import UrlPolicy


def fields(embed: dict[str, Any]) -> dict[str, str]:
    return {field["name"]: field["value"] for field in embed["fields"]}


def test_a_notice_to_a_program_is_signed_and_says_everything_in_words_and_in_numbers(house):
    async def story(f, server):
        incident = f.incident("outage", "webhook", held=0)
        await f.round()
        update = f"notice:webhook:{incident}:update"
        for _ in range(2):
            f.store.hincrby(f"of:incident:{incident}", "version", 1)
            f.put(update)
            await f.round()
            assert f.waits() == {update: 600}, "as often as new ones"
            f.time[0] += 600
            await f.round()
        assert await close_incident(f.link, "outage", ())
        await f.round()
        told = [json.loads(asked.body) for asked in server.asked]
        assert [one["type"] for one in told] == [
            "incident.began", "incident.updated", "incident.updated", "incident.recovered"]  # fmt: skip
        assert len({asked.headers["webhook-id"] for asked in server.asked}) == 4
        assert all("webhook-signature" in asked.headers for asked in server.asked)
        data = told[0]["data"]
        assert (data["id"], data["reason"], data["falls"], data["ended"]) == (incident, "outage", 2, None)
        assert (data["models"], data["causes"], data["seen"]) == ({"smol": 2}, {"timeout": 2}, {"canned_reply": 2})
        assert "openfall degrade list" in data["to_do"]
        assert told[-1]["data"]["text"].startswith("It lasted 20 min.")

    house(story, webhook="{url}/hook")


def test_the_operator_s_own_address_may_be_within_whatever_producers_may_not(house):
    async def story(f, server):
        f.incident("outage", "webhook")
        await f.round()
        assert len(server.asked) == 1

    house(story, webhook="{url}", rules=UrlPolicy())


def test_an_outage_on_discord_is_one_message_that_is_kept_up_to_date_and_one_at_its_end(channel):
    async def story(f, discord):
        incident = f.incident()
        await f.round()
        (embed,) = discord.embeds
        assert (embed["title"], embed["color"]) == ("No model can answer", 0xD92D20)
        assert fields(embed)["Jobs"] == "2 × interactive"
        assert fields(embed)["Callers saw"] == "2 × a canned reply"
        assert "openfall degrade list" in fields(embed)["What to do"]
        f.store.hset(f"of:incident:{incident}", mapping={"falls": 9, "held": 0, "replayed": 8, "version": 7})
        f.put(f"notice:discord:{incident}:update")
        await f.round()
        assert f.waits() == {f"notice:discord:{incident}:update": 10}
        f.time[0] += 10
        await f.round()
        (embed,) = discord.embeds
        assert embed["description"] == "Jobs fell 9 times; 0 are held."
        assert await close_incident(f.link, "outage", ())
        await f.round()
        _, end = discord.embeds
        assert (end["title"], end["color"]) == ("Over: no model can answer", 0x12B76A)
        assert end["description"] == (
            "It lasted 10 s. Jobs fell 9 times; 8 came back, 0 ran out of time, 0 are still held."
        )
        assert [(method, path.rpartition("token")[2]) for method, path, _ in discord.asked] == [
            ("POST", "?thread_id=42&wait=true"),
            ("PATCH", f"/messages/{next(iter(discord.messages))}?thread_id=42"),
            ("POST", "?thread_id=42&wait=true"),
        ]
        assert all(body["allowed_mentions"] == {"parse": []} for _, _, body in discord.asked)
        assert f.waits() == {}

    channel(story)


def test_another_reason_is_amber_and_says_what_a_person_can_do(channel):
    async def story(f, discord):
        f.incident("poisoned")
        await f.round()
        (embed,) = discord.embeds
        assert (embed["color"], embed["title"]) == (0xF79009, "A job kills its workers")
        assert "openfall degrade replay" in fields(embed)["What to do"]

    channel(story)


def test_a_message_that_somebody_deleted_is_posted_anew_and_kept_up_to_date(channel):
    async def story(f, discord):
        incident = f.incident()
        await f.round()
        discord.messages.clear()
        for version in (3, 4):
            f.time[0] += 10
            f.store.hset(f"of:incident:{incident}", "version", version)
            f.put(f"notice:discord:{incident}:update")
            await f.round()
        assert len(discord.messages) == 1
        assert [method for method, _, _ in discord.asked] == ["POST", "PATCH", "POST", "PATCH"]

    channel(story)


def test_discord_s_wish_for_a_rest_is_honoured_before_and_after_it_is_angry(channel):
    async def story(f, discord):
        for number in range(7):
            f.incident(f"reason{number}")
            await f.round()
        assert len(discord.asked) == 5, "the fifth said that it was the last for now"
        assert sorted(f.waits().values()) == [2.2, 2.2]
        f.time[0] += 3
        discord.fault = "global"
        await f.round()
        assert len(discord.asked) <= 7
        assert all(wait >= 5 for wait in f.waits().values())
        discord.fault = ""
        f.time[0] += 10
        await f.round()
        assert (len(discord.messages), f.waits()) == (7, {})

    channel(story, at_most=(100, 600.0))


def test_while_discord_is_down_nothing_is_lost_and_the_beginning_is_told_before_the_end(channel, caplog):
    async def story(f, discord):
        discord.fault = "down"
        incident = f.incident(held=0)
        waits = []
        for _ in range(4):
            await f.round()
            waits.append(f.waits()[f"notice:discord:{incident}:began"])
            f.time[0] += waits[-1]
        assert waits == [5, 10, 20, 40]
        assert await close_incident(f.link, "outage", ())
        discord.fault = ""
        await f.round()
        await f.round()
        assert [embed["title"] for embed in discord.embeds] == ["No model can answer", "Over: no model can answer"]
        assert f.waits() == {}

    channel(story)
    assert "/token" not in caplog.text


def test_shorter_ones_that_went_unmentioned_are_counted_in_the_next(channel):
    async def story(f, discord):
        for _ in range(3):
            f.incident(held=0)
            await f.round()
            f.time[0] += 10
            assert await close_incident(f.link, "outage", ())
            await f.round()
        f.time[0] += 600
        await f.round()
        f.incident()
        await f.round()
        assert len(discord.embeds) == 3, "the first, its end, and the last"
        assert "2 shorter ones before it went unmentioned" in discord.embeds[-1]["description"]

    channel(story)


def test_whatever_an_incident_holds_discord_takes_it(channel):
    async def story(f, discord):
        many = {f"{kind}:{'n' * 200}🜂{number}": number for kind in "umcs" for number in range(60)}
        f.incident("o" * 300, **many)
        await f.round()
        assert len(discord.messages) == 1
        assert f.waits() == {}

    channel(story)


def test_a_webhook_that_is_gone_is_an_error_that_may_be_mended(channel):
    async def story(f, discord):
        f.incident()
        await f.round()
        assert list(f.waits().values()) == [5]

    channel(story, discord="http://127.0.0.1:1/api/webhooks/9/none")


def test_a_notice_is_given_up_after_three_days(channel):
    async def story(f, discord):
        discord.fault = "down"
        incident = f.incident()
        await f.round()
        f.store.hset(f"of:posting:notice:discord:{incident}:began", "tries", 400)
        f.time[0] += 3 * 86400
        await f.round()
        assert f.waits() == {}
        assert f.store.hget("of:counters", "notice_given_up") == b"1"

    channel(story)
