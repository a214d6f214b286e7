"""The gateway below a path of a reverse proxy (`gateway: {root_path: ...}`): every link stays below it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import httpx
import pytest

from openfall.config.gateway_settings import GATEWAY_WORDS
from openfall.producers.gateway.app import ENDPOINTS
from openfall.producers.gateway.request_path import _UNVERSIONED, RequestPath, normalize_path
from openfall.router_core.state import keys
from openfall.router_core.state.client_keys import ClientKey, digest_of, new_secret
from tests.config.config_texts import check_section
from tests.faults import answer
from tests.producers.page.page_gateway import HTML, PageGateway, page_gateway
from tests.producers.page.path_proxy import ROOT, path_proxy
from tests.producers.page.staged_fleet import CONFIG, stage, stage_outbox
from tests.valkey_server import Server

LINK = re.compile(r'\b(href|src|action|formaction|data-live|data-events)="([^"]*)"')
OF_NO_GET = ("/compact", "/empty", "/delete")
"""The ends of the links with which rq-dashboard would act."""
PAGES = [
    ROOT + each.path
    for each in ENDPOINTS
    if each.method == "GET" and each.media_type == "text/html" and not re.search(r"{|^/page/jobs", each.path)
]
"""Every page that has one address. `/page/jobs` asks about jobs that were selected."""
SECRET = new_secret()


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    more = f"gateway: {{{{root_path: {ROOT}}}}}"
    with page_gateway(
        shared_server.url, tmp_path_factory.mktemp("path"), answer("tiny"), config=CONFIG, more=more.format()
    ) as opened:
        key = ClientKey(name="anna", digest=digest_of(SECRET), admin=True)
        opened.redis.hset(keys.CLIENT_KEYS, "anna", key.model_dump_json(exclude_none=True))
        stage(opened.redis)
        stage_outbox(opened.redis)
        yield opened


@pytest.fixture(scope="module", params=[True, False], ids=["removes the path", "leaves the path"])
def visitor(gateway: PageGateway, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A browser that has signed in at the proxy."""
    with (
        path_proxy(gateway.url, removes_path=request.param) as url,
        httpx.Client(base_url=url, headers=HTML, timeout=60) as browser,
    ):
        refused = browser.get(f"{ROOT}/")
        assert refused.headers["location"] == f"{ROOT}/page/sign-in"
        signed_in = browser.post(refused.headers["location"], data={"key": SECRET})
        assert signed_in.headers["location"] == f"{ROOT}/"
        yield browser


def links(page: httpx.Response) -> Iterator[tuple[str, bool]]:
    """The paths to which a page leads at its own host, and whether a link does. `<%`: a template of rq-dashboard."""
    for attribute, text in LINK.findall(page.text):
        target = unescape(text)
        if target and "<%" not in target and not target.startswith(("http:", "https:")):
            yield urljoin(page.request.url.path, target), attribute in ("href", "src")


def test_every_link_of_every_page_stays_below_the_path_and_leads_to_a_page(visitor: httpx.Client) -> None:
    unread, visited, wrong = list(PAGES), set[str](), list[tuple[str, str]]()
    while unread:
        path = unread.pop()
        page = visitor.get(path, follow_redirects=True)
        if page.status_code != 200 and not path.endswith(OF_NO_GET):
            wrong.append((path, f"HTTP {page.status_code}"))
        if not page.headers["content-type"].startswith("text/html"):
            continue
        for path_of_link, is_link in links(page):
            target = urldefrag(path_of_link)[0]
            kind = target.split("?")[0].removeprefix(ROOT)
            if not target.startswith(f"{ROOT}/"):
                wrong.append((path, path_of_link))
            elif kind not in visited:
                visited.add(kind)
                unread += [target] if is_link else []
    assert not wrong
    assert {"/job", "/try", "/runbook/redis", "/openapi.json", "/rq", "/page/ask/drop", "/page/live"} <= visited


def test_an_action_leads_back_below_the_path_and_its_cookies_go_to_no_other_program(visitor: httpx.Client) -> None:
    page = visitor.get(f"{ROOT}/").text
    token = re.search(r'name="token" value="(\w+)"', page)
    assert token is not None
    form = {"token": token[1], "subject": "cloud.gpt-mini.background", "back": "/outbox"}
    done = visitor.post(f"{ROOT}/page/act/resume", data=form, headers={"origin": str(visitor.base_url).rstrip("/")})
    assert (done.status_code, done.headers["location"]) == (303, f"{ROOT}/outbox")
    assert {(cookie.name, cookie.path) for cookie in visitor.cookies.jar} == {
        ("openfall_session.tools.openfall", ROOT), ("openfall_notice.tools.openfall", ROOT),
    }  # fmt: skip


def test_a_gateway_at_the_root_of_the_same_host_does_not_end_a_session_below_a_path(visitor: httpx.Client) -> None:
    visitor.cookies.set("openfall_session", "of the other gateway", domain="127.0.0.1")
    assert visitor.get(f"{ROOT}/").status_code == 200
    visitor.cookies.delete("openfall_session", domain="127.0.0.1")


def test_a_stream_and_an_api_are_below_the_path(visitor: httpx.Client) -> None:
    with visitor.stream("GET", f"{ROOT}/page/live?sections=breakers&versions=0") as stream:
        section = next(line for line in stream.iter_lines() if line.startswith("data: "))
    assert f'href=\\"{ROOT}/breaker\\"' in section
    listed = visitor.get(f"{ROOT}/v1/models", headers={"authorization": f"Bearer {SECRET}"})
    assert listed.json()["data"]
    assert visitor.get(f"{ROOT}/openapi.json").json()["servers"] == [{"url": ROOT}]
    missed = visitor.post(f"{ROOT}/x/chat/completions", headers={"authorization": f"Bearer {SECRET}"})
    assert f"{visitor.base_url}".rstrip("/") + f"{ROOT}/v1," in missed.text


def test_a_header_of_a_caller_sets_no_link(gateway: PageGateway) -> None:
    forged = {"x-forwarded-prefix": "//evil.example", "x-script-name": "//evil.example", **HTML}
    page = httpx.get(f"{gateway.url}/page/sign-in", headers=forged, timeout=60)
    assert page.status_code == 200
    assert "evil" not in page.text


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/openfall", "/"),
        ("/openfall/", "/"),
        ("/openfall/chat/completions", "/v1/chat/completions"),
        ("//openfall//job/x", "/job/x"),
        ("/job/openfall", "/job/openfall"),
        ("/openfallx/job", "/openfallx/job"),
        ("/openfall/openfall/job", "/openfall/job"),
    ],
)
def test_the_root_path_is_taken_off_once_and_as_whole_words(path: str, rest: str) -> None:
    assert normalize_path(path, "/openfall") == RequestPath(rest)
    assert normalize_path("/openfall/for/a/in/batch/v1/models", "/openfall") == RequestPath("/v1/models", "a", "batch")


def test_a_root_path_cannot_be_a_path_of_the_gateway() -> None:
    words = {endpoint.path.split("/")[1] for endpoint in ENDPOINTS} | _UNVERSIONED | {"for", "in"}
    assert words == GATEWAY_WORDS | {""}


@pytest.mark.parametrize(
    "text", ["openfall", "/v1", "/job/x", "//evil.example", "/a/../b", "https://a.example/b", "/ä"]
)
def test_a_root_path_that_makes_no_link_is_refused_with_an_example(tmp_path: Path, text: str) -> None:
    (problem,) = check_section(tmp_path, f"gateway: {{root_path: {text}}}")
    assert "For example /openfall" in problem
    for right in ("/openfall/", "/", '""'):
        assert not check_section(tmp_path, f"gateway: {{root_path: {right}}}")
