"""The page in a real Chromium: `make page`. Not a part of `make test`, which needs no browser."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from openfall.router_core.state import keys
from tests.faults import answer, events, piece
from tests.producers.page.browser import chromium, sync_api
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.producers.page.path_proxy import ROOT, path_proxy
from tests.producers.page.staged_fleet import CONFIG, stage, stage_outbox
from tests.valkey_server import Server
from tests.worker_harness import worker_command

pytestmark = pytest.mark.browser
expect = sync_api.expect
expect.set_options(timeout=20_000)

SHOTS = os.environ.get("OPENFALL_SCREENSHOTS")
"""A folder: the screenshots of the documentation are written there."""


ROUTE = "/try/route"
"""Not an address that is opened: what the form of /try shows with every option."""
PATHS = (
    "/", "/page/ask/hold-open?subject=attic/llama-8b", "/page/sign-in", "/page/ask/nothing", "/job", "/try", "/batch",
    "/outbox", "/inbox", "/model", "/breaker", "/audit", "/statistics", "/cost", "/cost?show=model", "/keys",
    "/preflight", "/config", "/runbook", "/runbook/redis", ROUTE,
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def gateway(server_of_module: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(server_of_module.url, tmp_path_factory.mktemp("browser"), config=CONFIG) as opened:
        yield opened


@pytest.fixture
def staged(gateway: PageGateway) -> PageGateway:
    """The fleet in trouble, and a gateway that has read no other."""
    gateway.redis.flushall()
    stage(gateway.redis)
    gateway.instance.live_page = None
    return gateway


@pytest.fixture
def page(browser: Any, staged: PageGateway) -> Iterator[Any]:
    """A page in which no error of its script may happen."""
    with open_page(browser, staged.url) as opened:
        yield opened


class open_page:  # noqa: N801 - a context manager
    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.browser, self.url, self.options = browser, url, options
        self.problems: list[str] = []

    def __enter__(self) -> Any:
        self.context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **self.options})
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        page.goto(self.url)
        return page

    def __exit__(self, *_: object) -> None:
        self.context.close()
        policy = [problem for problem in self.problems if "Content Security Policy" in problem]
        assert not policy, policy


def test_an_outage_is_shown_without_a_reload(page: Any, staged: PageGateway) -> None:
    expect(page.locator("#live")).to_have_text("live")
    fields = {"state": "open", "cause": "connection (connection refused)", "away_since": int(time.time() * 1000)}
    started = time.monotonic()
    staged.redis.sadd(keys.BREAKERS, "tower/coder-32b")
    staged.redis.hset(f"{keys.BREAKER}tower/coder-32b", mapping=fields)
    staged.redis.hset(keys.BLOCKED, "tower/coder-32b", f"open {int(time.time() * 1000) + 60_000}")
    expect(page.locator("#health")).to_contain_text("coder-32b@tower takes no calls: connection")
    expect(page.locator("#breakers")).to_contain_text("connection refused")
    record("an outage is shown after", time.monotonic() - started)


def test_a_held_job_is_replayed_and_leaves_the_list(page: Any, staged: PageGateway) -> None:
    rows = page.locator("#open-fall tbody tr")
    expect(rows).to_have_count(2)
    page.locator("#open-fall summary").click()
    expect(rows.locator("li")).to_have_count(2)
    rows.locator("li").first.get_by_role("button", name=re.compile("Replay")).click()
    expect(page.locator("#notice")).to_contain_text("is queued")
    expect(rows.locator("li")).to_have_count(0)
    expect(rows).to_have_count(2)
    expect(page.locator("#audit")).to_contain_text("held.replay")


def test_the_switch_is_turned_with_a_reason_and_by_keyboard_alone(page: Any, staged: PageGateway) -> None:
    page.locator("#switch [data-act]").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Keep every job")
    page.get_by_label("Why").press_sequentially("the lawyers want it")
    page.keyboard.press("Enter")
    expect(page.locator("#switch")).to_contain_text("the lawyers want it")
    assert staged.redis.hget(keys.BLOCKED, "local-only") == b"the lawyers want it"
    page.locator("#switch [data-act]").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("the lawyers want it")).to_be_visible()  # the question says why it was switched on
    page.get_by_role("button", name="Switch off").press("Enter")
    expect(page.locator("#switch")).to_contain_text("Jobs may go to cloud models")


def test_everything_to_press_is_reached_by_the_tabulator_key_and_shows_its_focus(page: Any) -> None:
    page.get_by_text("more are closed").click()
    wanted = page.locator("[data-act]:visible").count()
    reached, without_outline = set(), []
    for _ in range(wanted + 60):
        page.keyboard.press("Tab")
        key, width = page.evaluate(
            "() => [document.activeElement.dataset.key || '', getComputedStyle(document.activeElement).outlineWidth]"
        )
        if key:
            reached.add(key)
            if width == "0px":
                without_outline.append(key)
    assert len(reached - {"closed"}) == wanted
    assert not without_outline


@contextmanager
def open_path(browser: Any, staged: PageGateway, path: str, **options: Any) -> Iterator[Any]:
    """One of the paths."""
    with open_page(browser, staged.url + ("/try" if path == ROUTE else path), **options) as page:
        if path == ROUTE:
            page.get_by_text("More options").click()
            page.get_by_label("Group").fill("discord:main")
            page.get_by_label("Without models or backends").fill("attic")
            page.get_by_role("button", name="Which model would answer?").click()
            expect(page.locator("main")).to_contain_text("would answer")
            assert page.get_by_label("Group").input_value() == "discord:main"
        yield page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_accessibility_is_broken(browser: Any, staged: PageGateway, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    stage_outbox(staged.redis)
    for path in PATHS:
        with open_path(browser, staged, path, color_scheme=scheme) as page:
            violations = axe.Axe().run(page).response["violations"]
        assert not violations, path + str(
            [(each["id"], [node["target"] for node in each["nodes"]]) for each in violations]
        )


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(browser: Any, staged: PageGateway, width: int) -> None:
    stage_outbox(staged.redis)
    for path in PATHS:
        with open_path(browser, staged, path, viewport={"width": width, "height": 800}) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_a_notification_is_tried_at_once_by_keyboard_and_its_row_is_renewed(browser: Any, staged: PageGateway) -> None:
    stage_outbox(staged.redis)
    with open_page(browser, staged.url + "/outbox") as page:
        expect(page.locator("#live")).to_have_text("live")
        expect(page.locator("#outbox-waiting")).to_contain_text("in 25m")
        page.locator("#outbox-failed").get_by_role("button", name=re.compile("Try all again")).focus()
        page.keyboard.press("Enter")
        expect(page.locator("#notice")).to_contain_text("1 of 1 notifications are due now")
        expect(page.locator("#outbox-failed")).to_contain_text("No notification failed for good")
        expect(page.locator("#outbox-waiting tbody tr")).to_have_count(2)


def test_under_a_path_of_a_proxy_the_page_renews_itself_and_acts(
    browser: Any, server_of_module: Server, tmp_path: Path
) -> None:
    more = f"gateway: {{root_path: {ROOT}}}"
    with (
        page_gateway(server_of_module.url, tmp_path, answer("tiny"), config=CONFIG, more=more) as below,
        path_proxy(below.url, removes_path=True, names_client=False) as url,
    ):
        stage(below.redis)
        with open_page(browser, url + ROOT) as page:
            expect(page.locator("#live")).to_have_text("live")
            page.locator("#open-fall tbody tr").first.get_by_role("button", name=re.compile("Replay")).first.click()
            expect(page.locator("#notice")).to_contain_text("is queued")
            page.get_by_role("link", name="Jobs", exact=True).click()
            expect(page.get_by_role("heading", level=1)).to_contain_text("Jobs")
            assert page.url == f"{url}{ROOT}/job"


def test_without_a_script_the_page_is_read_and_acts(browser: Any, staged: PageGateway) -> None:
    with open_page(browser, staged.url, java_script_enabled=False) as page:
        page.locator("#open-fall summary").click()
        page.locator("#open-fall li").first.get_by_role("button", name=re.compile("Replay")).click()
        expect(page.locator("#notice")).to_contain_text("is queued")
        expect(page.locator("#open-fall li")).to_have_count(0)


def test_a_section_keeps_focus_and_what_is_open_when_it_is_renewed(page: Any, staged: PageGateway) -> None:
    page.get_by_text("more are closed").click()
    button = page.locator("#breakers .card [data-act]").first
    button.focus()
    key = button.get_attribute("data-key")
    version = page.locator("#breakers").get_attribute("data-version")
    staged.redis.hset(f"{keys.BREAKER}anthropic/haiku", "cause", "overloaded (HTTP 503)")
    expect(page.locator("#breakers")).to_contain_text("HTTP 503")
    assert page.locator("#breakers").get_attribute("data-version") != version
    assert page.evaluate("document.activeElement.dataset.key") == key
    assert page.locator("#breakers details").get_attribute("open") is not None


@contextmanager
def worker_process(config: Path) -> Iterator[None]:
    with subprocess.Popen(worker_command("gpu", config), stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def test_a_question_is_followed_through_a_fallback_to_its_answer(browser: Any, redis_url: str, tmp_path: Path) -> None:
    """The first model refuses, the second one streams: the page shows both as they happen, and then who answered."""
    refusal = answer({"error": {"message": "overloaded"}}, 529)
    stream = events(piece(content="A lantern "), piece(content="is lit"), piece(finish="stop"))
    with (
        page_gateway(redis_url, tmp_path, refusal, stream) as fleet,
        worker_process(tmp_path / "openfall.yaml"),
        open_page(browser, f"{fleet.url}/try") as page,
    ):
        page.get_by_label("Question").fill("Haruka waves")
        page.get_by_label("Role, task or model").select_option("chat")
        page.get_by_label("Urgency").select_option("interactive")
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#answer")).to_have_text("A lantern is lit")
        expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#try-state")).to_have_text("fell back")
        expect(page.locator("#try-log")).to_contain_text("other")
        page.get_by_role("link", name="The whole story").click()
        expect(page.locator("main")).to_contain_text("overloaded")


def test_a_redis_that_stops_is_named_and_a_page_goes_on_when_it_is_back(
    browser: Any, gateway: PageGateway, server_of_module: Server
) -> None:
    with open_page(browser, gateway.url) as page:
        expect(page.locator("#live")).to_have_text("live")
        started = time.monotonic()
        server_of_module.kill()
        expect(page.locator("#health")).to_contain_text("Redis does not answer")
        record("a Redis that has stopped is shown after", time.monotonic() - started)
        expect(page.locator("#queues .old")).to_contain_text("Not live: as it was at")
        expect(page.locator("#live")).to_have_text("not live: Redis is away")
        server_of_module.start()
        expect(page.locator("#health")).not_to_contain_text("Redis does not answer")
        expect(page.locator(".old")).to_have_count(0)
        expect(page.locator("#live")).to_have_text("live")


def test_a_large_fleet_is_shown_at_once(browser: Any, gateway: PageGateway) -> None:
    fill(gateway.redis, queues=300, jobs=10_000)
    with open_page(browser, gateway.url) as page:
        timing = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        expect(page.locator("#queues")).to_contain_text("3,334")
    record("with 300 queues and 10,000 jobs it is loaded after", timing / 1000)


def fill(store: redis.Redis, *, queues: int, jobs: int) -> None:
    """Queues of models that the catalog does not name count all the same: by their pool."""
    store.flushall()
    names = [f"gpu.m{number // 3}.{('interactive', 'background', 'batch')[number % 3]}" for number in range(queues)]
    pipe = store.pipeline(transaction=False)
    pipe.sadd("rq:queues", *(f"rq:queue:{name}" for name in names))
    now = int(time.time() * 1000)
    for number in range(jobs):
        name = names[number % len(names)]
        pipe.rpush(f"rq:queue:{name}", f"job{number}")
        pipe.hset(f"of:job:job{number}", "accepted", now)
    pipe.execute()


@pytest.mark.skipif(not SHOTS, reason="OPENFALL_SCREENSHOTS names no folder")
@pytest.mark.parametrize(
    ("name", "scheme", "width"), [("light", "light", 1280), ("dark", "dark", 1280), ("phone", "light", 390)]
)
def test_screenshots(browser: Any, staged: PageGateway, name: str, scheme: str, width: int) -> None:
    store = staged.instance.client.store
    fetching = store._fetch_fleet()  # noqa: SLF001 - routing knows the staged workers at once
    asyncio.run_coroutine_threadsafe(fetching, staged.loop).result(20)
    with staged.browser() as client:
        for role, text in (
            ("chat", "Haruka waves"),
            ("coder", "a function"),
            ("storyboard", "scene 7"),
            ("chat", "and?"),
        ):
            client.post("/v1/responses", json={"model": role, "input": text, "background": True}).raise_for_status()
    with open_page(browser, staged.url, color_scheme=scheme, viewport={"width": width, "height": 900}) as page:
        expect(page.locator("#live")).to_have_text("live")
        page.screenshot(path=Path(str(SHOTS)) / f"page-{name}.png", full_page=True)


def record(what: str, seconds: float) -> None:
    """A figure for people: no test depends on the speed of a machine."""
    if SHOTS:
        with (Path(SHOTS) / "page-figures.txt").open("a") as file:
            file.write(f"{what} {seconds:.2f} s\n")
