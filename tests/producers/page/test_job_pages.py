"""The pages of jobs: filters that stand in the address, the story of a job, actions on several jobs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from openfall.producers.page.sections.job_section import JobRow
from openfall.router_core.state.recent_jobs import ListedJob
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.valkey_server import Server

HOSTILE = "<script>alert('1')</script>&\""
PROMPT = "a private prompt"
JOB_IDS = ("chat-0001", "scene-001", "8f21aaaabbbbccccdddd0001", "ended-001")


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("jobs")) as opened:
        submit(opened, "chat-0001", role="chat")
        submit(opened, "scene-001", role="scene", urgency="batch")
        submit(opened, "8f21aaaabbbbccccdddd0001", role="plain")
        submit(opened, "ended-001", role="chat")
        call(opened, opened.instance.client.cancel("ended-001"))
        yield opened


def call(gateway: PageGateway, coroutine: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, gateway.loop).result(60)


def submit(gateway: PageGateway, job_id: str, **options: Any) -> None:
    call(gateway, gateway.instance.client.submit(PROMPT, id=job_id, **options))


def shown(page: str) -> list[str]:
    """The jobs of the fixture that a page lists: other tests submit jobs of their own."""
    return [job_id for job_id in re.findall(r'<a href="/job/([^"]+)" title', page) if job_id in JOB_IDS]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["ended-001", "8f21aaaabbbbccccdddd0001", "scene-001", "chat-0001"]),
        ("?role=&state=&model=&since=&id=", ["ended-001", "8f21aaaabbbbccccdddd0001", "scene-001", "chat-0001"]),
        ("?state=queued&model=tiny", ["8f21aaaabbbbccccdddd0001", "chat-0001"]),
        ("?state=cancelled", ["ended-001"]),
        ("?role=chat&state=queued", ["chat-0001"]),
        ("?urgency=batch", ["scene-001"]),
        ("?id=ccc", ["8f21aaaabbbbccccdddd0001"]),
        ("?since=1h&producer=stranger*", []),
    ],
)
def test_the_address_of_the_list_has_its_filters(gateway: PageGateway, query: str, ids: list[str]) -> None:
    assert sorted(shown(gateway.page(f"/job{query}"))) == sorted(ids)


def test_a_list_has_pages_whose_addresses_keep_the_filters(
    gateway: PageGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openfall.producers.page.job_pages.ROWS", 1)
    first = gateway.page("/job?role=chat")
    (older,) = re.findall(r'href="(/job\?[^"]+)" rel="next"', first)
    shown_on_both = shown(first) + shown(gateway.page(older.replace("&amp;", "&")))
    assert sorted(shown_on_both) == ["chat-0001", "ended-001"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("state=quued", "Did you mean"),
        ("since=soon", "not a duration"),
        ("urgency=now", "urgency"),
        ("before=x", "is no cursor"),
    ],
)
def test_a_filter_that_is_none_is_explained_beside_the_form(gateway: PageGateway, query: str, words: str) -> None:
    with gateway.browser() as browser:
        response = browser.get(f"/job?{query}")
    assert response.status_code == 400
    assert words in response.text
    assert 'name="state"' in response.text


def test_nothing_that_is_typed_into_a_filter_becomes_markup(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        page = browser.get(
            "/job", params=dict.fromkeys(("role", "producer", "id", "state", "since", "before"), HOSTILE)
        )
    assert "<script>alert" not in page.text


def test_the_page_of_a_job_tells_its_life_without_its_prompt(gateway: PageGateway) -> None:
    page = gateway.page("/job/chat-0001")
    assert "Models considered" in page
    assert "role chat: tiny first of 2" in page
    assert "submitted by" in page
    assert "waits in gpu.tiny.interactive" in page
    assert 'data-renew="2"' in page
    assert PROMPT not in page
    ended = gateway.page("/job/ended-001")
    assert "cancelled" in ended
    assert "data-renew" not in ended


def test_the_first_letters_of_an_id_lead_to_the_page_of_its_job(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        by_letters, unknown, short = browser.get("/job/8f21"), browser.get("/job/0000000"), browser.get("/job/8")
    assert by_letters.headers["location"] == "/job/8f21aaaabbbbccccdddd0001"
    assert (unknown.status_code, short.status_code) == (404, 400)
    assert "was never accepted here" in unknown.text


def test_selected_jobs_are_cancelled_after_a_question_and_only_by_the_form_of_the_page(gateway: PageGateway) -> None:
    submit(gateway, "doomed-01", role="plain")
    submit(gateway, "doomed-02", role="plain")
    ids = {"id": ["doomed-01", "doomed-02"], "verb": "cancel"}
    with gateway.browser() as browser:
        question = browser.get("/page/jobs", params=ids)
        assert "Cancel 2 jobs?" in question.text
        assert call(gateway, gateway.instance.client.record("doomed-01")).state == "queued", "a GET does nothing"
        (token,) = set(re.findall(r'name="token" value="([^"]+)"', question.text))
        assert browser.post("/page/jobs", data=ids).status_code == 403
        done = browser.post("/page/jobs", data={**ids, "token": token})
        assert done.status_code == 303
        assert "2 of 2 cancelled" in browser.get("/job").text
    assert call(gateway, gateway.instance.client.record("doomed-02")).state == "done"


def test_all_jobs_that_match_the_filters_are_cancelled_after_a_question(gateway: PageGateway) -> None:
    for number in range(3):
        submit(gateway, f"matched-{number}", role="plain", urgency="batch")
    with gateway.browser() as browser:
        listed = browser.get("/job?id=matched&role=plain").text
        (address,) = re.findall(r'href="(/page/jobs\?verb=cancel[^"]*)"', listed)
        question = browser.get(address.replace("&amp;", "&")).text
        assert "Cancel 3 jobs?" in question
        (token,) = set(re.findall(r'name="token" value="([^"]+)"', question))
        (matching,) = re.findall(r'name="matching" value="([^"]+)"', question)
        form = {"verb": "cancel", "matching": matching.replace("&amp;", "&"), "token": token}
        assert browser.post("/page/jobs", data=form).status_code == 303
        assert "3 of 3 cancelled" in browser.get("/job").text
        again = browser.get(address.replace("&amp;", "&"))
    assert (again.status_code, "that this could change" in again.text) == (400, True)
    assert "id=matched" in gateway.page("/")


@pytest.mark.parametrize(
    ("query", "words"), [("verb=cancel", "no job is selected"), ("id=x&verb=burn", "not &#39;burn")]
)
def test_an_action_without_jobs_or_with_an_unknown_verb_is_refused(
    gateway: PageGateway, query: str, words: str
) -> None:
    with gateway.browser() as browser:
        response = browser.get(f"/page/jobs?{query}")
    assert response.status_code == 400
    assert words in response.text


def test_the_front_page_shows_recent_jobs(gateway: PageGateway) -> None:
    assert "scene-001" in shown(gateway.page("/"))


def row(**more: Any) -> JobRow:
    terms: dict[str, Any] = {
        "id": "8f21aaaabbbbccccdddd0001", "state": "done", "status": "answered", "queue": "gpu.tiny.batch",
        "role": None, "model": "tiny", "urgency": "batch", "group": None, "producer": "p",
        "accepted_at": 1.0, "ended_at": 2.0,
        "deadline": 9.0, "held_for": None, "why": "", **more,
    }  # fmt: skip
    return JobRow(ListedJob(**terms))


@pytest.mark.parametrize(
    ("terms", "outcome", "tone"),
    [
        ({}, "answered", "good"),
        ({"fell_back": True}, "fell back", "warn"),
        ({"status": "failed", "fell_back": True}, "failed", "bad"),
        ({"state": "held", "status": None, "held_for": "budget"}, "held: budget", "warn"),
        ({"state": "queued", "status": None}, "queued", ""),
    ],
)
def test_a_row_says_how_a_job_ended_or_where_it_is(terms: dict[str, Any], outcome: str, tone: str) -> None:
    assert (row(**terms).outcome, row(**terms).tone) == (outcome, tone)


def test_what_is_not_known_of_a_job_is_a_dash_and_never_0() -> None:
    waits = row(state="queued", status=None, ended_at=None)
    assert (waits.tokens, waits.cost, waits.model, waits.short_id) == ("–", "–", "tiny", "8f21aaaa")
    unpriced = row(input_tokens=None, output_tokens=1234, answered_by="large")
    assert (unpriced.tokens, unpriced.cost, unpriced.model) == ("? → 1.2k", "$?", "large")
