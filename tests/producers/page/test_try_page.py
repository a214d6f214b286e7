"""The page that asks one question: through the queue, for who asked, and only by its own form."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from openfall.router_core.state.client_keys import ClientKey, PageRight, add_key, digest_of, new_secret
from tests.faults import COMPLETION, answer, events, piece, stall
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run
from tests.producers.page.page_gateway import HTML

HOSTILE = "<img src=x onerror=alert(1)>"


RIGHTS = {"anna": PageRight.ACT, "ben": PageRight.ACT, "carl": PageRight.READ}


async def new_key(gateway: RunningGateway, name: str, right: PageRight) -> str:
    """A key that may ask for the role chat."""
    secret = new_secret()
    await add_key(gateway.link, ClientKey(name=name, digest=digest_of(secret), names=("chat",), page=right))
    return secret


async def ask(browser: httpx.AsyncClient, **form: str) -> httpx.Response:
    page = await browser.get("/try")
    (token,) = set(re.findall(r'name="token" value="([^"]+)"', page.text))
    return await browser.post("/try", data={"question": "Haruka waves", "target": "chat", "token": token, **form})


def browser_of(gateway: RunningGateway) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.url, headers=HTML, timeout=60)


async def streamed(browser: httpx.AsyncClient, path: str) -> list[tuple[str, dict[str, str]]]:
    """The events of an answer up to its end."""
    shown, name = [], ""
    async with browser.stream("GET", f"{path}/events") as response:
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                shown.append((name, json.loads(line.removeprefix("data: "))))
                if name == "end":
                    break
    return shown


def test_a_question_is_a_job_whose_answer_is_streamed_to_the_visitor(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        script = events(piece(content="A lantern "), piece(content=HOSTILE), piece(finish="stop"))
        async with open_gateway(redis_url, tmp_path, script) as gateway, browser_of(gateway) as browser:
            submitted = await ask(browser)
            path = submitted.headers["location"]
            shown = await streamed(browser, path)
            page = await browser.get(path)
            story = await browser.get(path.replace("/try/", "/job/"))
        assert submitted.status_code == 303
        text = "".join(event["text"] for name, event in shown if name == "text")
        assert text in ("A lantern " + HOSTILE, "")
        assert shown[-1][0] == "end"
        assert shown[-1][1]["text"] == "A lantern " + HOSTILE
        assert "A lantern &lt;img" in page.text
        assert HOSTILE not in page.text
        assert "A lantern" not in story.text, "the page of a job shows no answer"

    run(main)


def test_a_question_that_is_handed_on_says_so(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        scripts = (answer({"error": {"message": "overloaded"}}, 529), answer(COMPLETION))
        async with open_gateway(redis_url, tmp_path, *scripts) as gateway, browser_of(gateway) as browser:
            path = (await ask(browser, urgency="interactive")).headers["location"]
            shown = await streamed(browser, path)
            page = await browser.get(path)
        lines = " | ".join(event.get("line", "") for _, event in shown)
        assert "overloaded" in lines + page.text
        assert "fell back" in page.text

    run(main)


def test_only_the_form_of_the_page_asks_and_a_wrong_question_is_explained_beside_it(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, browser_of(gateway) as browser:
            foreign = await browser.post("/try", data={"question": "x", "target": "chat"})
            empty, unknown = await ask(browser, question=" "), await ask(browser, target="chatt", question=HOSTILE)
            urgent = await ask(browser, urgency="now")
            accepted = await gateway.link.command("EXISTS", "of:jobs")
        assert foreign.status_code == 403
        assert "A question has 1 to" in empty.text
        assert "Did you mean" in unknown.text
        assert HOSTILE not in unknown.text, "what was typed is shown again, escaped"
        assert urgent.status_code == 400
        assert accepted == 0

    run(main)


def test_an_answer_is_shown_to_the_key_that_asked_and_its_limits_hold(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall, pools=()) as gateway:
            secrets = {name: await new_key(gateway, name, right) for name, right in RIGHTS.items()}
            async with browser_of(gateway) as anna, browser_of(gateway) as ben, browser_of(gateway) as carl:
                for browser, name in ((anna, "anna"), (ben, "ben"), (carl, "carl")):
                    assert (await browser.post("/page/sign-in", data={"key": secrets[name]})).status_code == 303
                path = (await ask(anna)).headers["location"]
                record = await gateway.instance.client.record(path.removeprefix("/try/"))
                refused = await ask(anna, target="scene")
                own, other, reader = await anna.get(path), await ben.get(path), await carl.get(path)
                form = await carl.get("/try")
        assert record.producer == "anna"
        assert refused.status_code == 400
        assert "<option>scene</option>" not in refused.text
        assert [own.status_code, other.status_code, reader.status_code] == [200, 403, 403]
        assert "may only read" in form.text

    run(main)


async def press(browser: httpx.AsyncClient, path: str, **form: str) -> httpx.Response:
    """Send the form of the page to one of its buttons."""
    (token,) = set(re.findall(r'name="token" value="([^"]+)"', (await browser.get("/try")).text))
    return await browser.post(path, data={"question": "", "token": token, **form})


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ({"target": "chat"}, ["tiny at rack would answer", "resolve --explain -u interactive chat"]),
        ({"target": "scene", "urgency": "batch"}, ["other at rack would answer", "resolve --explain -u batch scene"]),
        ({"target": "auto", "question": "Haruka waves"}, ["would answer", "resolve --explain -u interactive auto"]),
        ({"target": "chatt"}, ["Did you mean", "unknown"]),
        ({"target": "chat", "urgency": "now"}, ["unknown urgency"]),
        (
            {"target": "chat", "exclude": "tiny", "group": "discord:main", "local_only": "on", "prompt_tokens": "70"},
            ["other at rack would answer", "-g discord:main --local-only --tokens 70 --exclude tiny chat"],
        ),
        ({"target": "chat", "exclude": "tiny, rack"}, ["no model", "excluded by the request"]),
        ({"target": "chat", "exclude": "tinny"}, ["Did you mean"]),
        ({"target": "chat", "prompt_tokens": "9000"}, ["no model"]),
        ({"target": "chat", "prompt_tokens": "many"}, ["is no whole number from 0 on"]),
        ({"target": "chat", "group": "a\nb"}, ["group"]),
    ],
    ids=[
        "a role",
        "a role and an urgency",
        "no name",
        "an unknown name",
        "an unknown urgency",
        "every option",
        "no model left",
        "an unknown exclusion",
        "too long a prompt",
        "no number",
        "a group of two lines",
    ],
)
def test_the_model_of_a_question_is_shown_with_its_reason_and_nothing_is_submitted(
    redis_url: str, tmp_path: Path, form: dict[str, str], lines: list[str]
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, browser_of(gateway) as browser:
            page = await press(browser, "/try/route", **form)
            accepted = await gateway.link.command("EXISTS", "of:jobs")
        assert [line for line in lines if line not in page.text] == []
        assert accepted == 0

    run(main)


def test_a_reader_sees_which_model_would_answer_within_the_limits_of_the_key(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, browser_of(gateway) as carl:
            secret = await new_key(gateway, "carl", PageRight.READ)
            await carl.post("/page/sign-in", data={"key": secret})
            foreign = await carl.post("/try/route", data={"target": "chat", "question": "x"})
            shown, refused = [await press(carl, "/try/route", target=target) for target in ("chat", "scene")]
            submitted = await press(carl, "/try", target="chat", question="x")
        assert foreign.status_code == 403
        assert "would answer" in shown.text
        assert "may not ask for" in refused.text
        assert submitted.status_code == 403

    run(main)


def test_the_options_of_a_question_are_those_of_its_job(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        groups = "groups: [{name: main, match: ['discord:*'], role: chat}]"
        async with open_gateway(redis_url, tmp_path, pools=(), more=groups) as gateway, browser_of(gateway) as browser:
            options = {"group": "discord:main", "local_only": "on", "expires_in": "5m", "max_tokens": "7"}
            path = (await ask(browser, **options, temperature="0.5", then="enqueue")).headers["location"]
            record = await gateway.instance.client.record(path.removeprefix("/job/"))
            wrong = {"expires_in": "soon", "max_tokens": "0", "temperature": "warm", "group": "a\x00b"}
            refused = [await ask(browser, **{name: text}) for name, text in wrong.items()]
            accepted = await gateway.link.command("ZCARD", "of:jobs")
        job = record.job
        assert job is not None
        limits = job.body["max_tokens"], job.body["temperature"]
        assert (job.group, job.local_only, *limits) == ("main", True, 7, 0.5)
        assert job.deadline - job.accepted_at == pytest.approx(300, abs=1)
        assert [response.status_code for response in refused] == [400, 400, 400, 400]
        assert accepted == 1

    run(main)


def test_an_enqueued_question_leads_to_its_job_without_waiting(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, browser_of(gateway) as browser:
            path = (await ask(browser, then="enqueue")).headers["location"]
            page = await browser.get(path)
            record = await gateway.instance.client.record(path.removeprefix("/job/"))
        assert path.startswith("/job/")
        assert page.status_code == 200
        assert record.state == "queued"

    run(main)
