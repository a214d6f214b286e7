"""Who may read the page, who may act, and that no other site and no GET can."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import httpx
import pytest
import redis

from openfall.router_core.state import keys
from openfall.router_core.state.client_keys import ClientKey, digest_of, new_secret
from tests.producers.page.page_gateway import HTML, PageGateway, page_gateway
from tests.valkey_server import Server


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("rights")) as opened:
        yield opened


@pytest.fixture(scope="module")
def closed_gateway(server_of_module: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClosedGateway]:
    with page_gateway(server_of_module.url, tmp_path_factory.mktemp("keys")) as opened:
        yield ClosedGateway(opened)


class ClosedGateway:
    """A gateway with keys to read, to act, and for the APIs only, and one to read that a test revokes."""

    def __init__(self, gateway: PageGateway) -> None:
        self.running = gateway
        self.secrets = {name: new_secret() for name in ("reader", "actor", "bot", "guest")}
        rights = {"reader": "read", "actor": "act", "bot": None, "guest": "read"}
        for name, secret in self.secrets.items():
            key = ClientKey.model_validate({"name": name, "digest": digest_of(secret), "page": rights[name]})
            gateway.redis.hset(keys.CLIENT_KEYS, name, key.model_dump_json(exclude_none=True))
        with self.browser("actor"):  # the gateway knows the keys from here on
            pass

    @contextmanager
    def browser(self, name: str) -> Iterator[httpx.Client]:
        with self.running.browser() as browser:
            browser.post("/page/sign-in", data={"key": self.secrets[name]})
            yield browser


def token_of(page: str) -> str:
    return re.findall(r'name="token" value="(\w+)"', page)[0]


def press(browser: httpx.Client, action: str, subject: str = "", **more: str) -> httpx.Response:
    """Press a button of the front page."""
    data = {"token": token_of(browser.get("/").text), "subject": subject, **more}
    return browser.post(f"/page/act/{action}", data=data)


def test_on_the_machine_of_a_gateway_without_keys_a_person_reads_and_acts(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        answer = press(browser, "local-only-on", reason="lawyers")
        after = browser.get(answer.headers["location"])
        again = browser.get("/")
        press(browser, "local-only-off")
    assert answer.status_code == 303
    assert "No job leaves the local pools" in after.text.partition("<main")[0]
    assert "No job leaves the local pools" not in again.text.partition("<main")[0]
    assert gateway.redis.hget("of:blocked", "local-only") is None
    assert "local_only.off" in gateway.redis.xrevrange(keys.AUDIT_LOG)[0][1][b"entry"].decode()


@pytest.mark.parametrize("reason", ["guests", "", "a contract <draft>"])
def test_before_local_only_ends_the_page_names_who_switched_it_on_and_why(gateway: PageGateway, reason: str) -> None:
    with gateway.browser() as browser:
        press(browser, "local-only-on", reason=reason)
        question = browser.get("/page/ask/local-only-off").text
        press(browser, "local-only-off")
        afterwards = browser.get("/page/ask/local-only-off").text
    actor = gateway.redis.xrevrange(keys.AUDIT_LOG)[0][1][b"entry"].decode()
    actors = re.findall(r"Ask (\S+) first", question)
    assert len(actors) == 1
    assert actors[0] in actor
    assert escape(reason) in question
    assert "It is off already." in afterwards


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"token": "guessed"}},
        {"data": {}},
        {"headers": {"origin": "http://evil.example"}},
        {"headers": {"sec-fetch-site": "cross-site"}},
        {"cookies": {"openfall_session": "another"}},
    ],
    ids=["a guessed token", "no token", "another origin", "another site", "another session"],
)
def test_a_form_of_another_site_changes_nothing(gateway: PageGateway, change: dict[str, dict[str, str]]) -> None:
    with gateway.browser() as browser:
        token = token_of(browser.get("/").text)
        browser.cookies.update(change.get("cookies", {}))
        sent = {"data": {"token": token, "subject": "x"}, "headers": {}, **change}
        sent.pop("cookies", None)
        answer = browser.post("/page/act/local-only-on", **sent)
    assert answer.status_code == 403
    assert gateway.redis.hget("of:blocked", "local-only") is None


def test_a_script_of_another_origin_reads_nothing(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        answers = [
            browser.get(path, headers={"origin": "http://evil.example"}) for path in ("/", "/page/live?sections=health")
        ]
        linked = browser.get("/", headers={"sec-fetch-site": "cross-site"})
    assert [answer.status_code for answer in answers] == [403, 403]
    assert linked.status_code == 200


def test_no_get_acts(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        browser.get("/")
        before = gateway.redis.xlen(keys.AUDIT_LOG)
        answers = [browser.get(f"/page/{verb}/local-only-on") for verb in ("act", "ask")]
    assert [answer.status_code for answer in answers] == [405, 200]
    assert gateway.redis.xlen(keys.AUDIT_LOG) == before
    assert gateway.redis.hget("of:blocked", "local-only") is None


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "openfall.example"},
        {"x-forwarded-for": "192.0.2.7"},
        {"forwarded": "for=192.0.2.7"},
        {"x-forwarded-proto": "https"},
        {"via": "1.1 proxy"},
    ],
    ids=["by a name of somebody else", "through a proxy", "through another proxy", "by TLS of a proxy", "via"],
)
def test_from_elsewhere_a_gateway_without_keys_wants_a_sign_in(gateway: PageGateway, headers: dict[str, str]) -> None:
    answer = httpx.get(gateway.url, headers={**HTML, **headers}, timeout=60)
    assert (answer.status_code, answer.headers["location"]) == (303, "/page/sign-in")
    assert (
        "openfall keys new NAME --page act"
        in httpx.get(f"{gateway.url}/page/sign-in", headers=headers, timeout=60).text
    )


def status_by_http_1_0(gateway: PageGateway, path: str) -> int:
    address = httpx.URL(gateway.url)
    with socket.create_connection((address.host, address.port or 80), timeout=60) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: text/html\r\n\r\n".encode())
        return int(client.makefile("rb").readline().split()[1])


def test_a_proxy_that_names_no_client_and_speaks_http_1_0_is_not_this_machine(
    gateway: PageGateway, closed_gateway: ClosedGateway
) -> None:
    assert [status_by_http_1_0(gateway, path) for path in ("/", "/job", "/batch")] == [303] * 3
    assert status_by_http_1_0(gateway, "/v1/models") == 403
    assert status_by_http_1_0(closed_gateway.running, "/metrics") == 401


def test_a_gateway_with_keys_shows_its_page_after_a_sign_in_only(closed_gateway: ClosedGateway) -> None:
    with closed_gateway.running.browser() as browser:
        page, stream = browser.get("/"), browser.get("/page/live?sections=health")
        wrong = browser.post("/page/sign-in", data={"key": "of_wrong"})
        no_right = browser.post("/page/sign-in", data={"key": closed_gateway.secrets["bot"]})
    assert (page.status_code, page.headers["location"]) == (303, "/page/sign-in")
    assert (stream.status_code, wrong.status_code, no_right.status_code) == (401, 403, 403)
    assert "no right to the page" in no_right.text


def test_the_cookie_of_a_sign_in_is_out_of_reach_of_scripts_and_other_sites(closed_gateway: ClosedGateway) -> None:
    with closed_gateway.running.browser() as browser:
        answer = browser.post("/page/sign-in", data={"key": closed_gateway.secrets["actor"]})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    kept = b" ".join(closed_gateway.running.redis.keys(keys.PAGE_SESSION + "*"))
    assert answer.cookies["openfall_session"].encode() not in kept


def test_a_key_for_reading_sees_the_fleet_and_changes_nothing(closed_gateway: ClosedGateway) -> None:
    with closed_gateway.browser("reader") as browser:
        page = browser.get("/").text
        answer = press(browser, "local-only-on")
        question = browser.get("/page/ask/local-only-on")
    assert "<fieldset disabled>" in page
    assert (answer.status_code, question.status_code) == (403, 403)
    assert closed_gateway.running.redis.hget("of:blocked", "local-only") is None


def test_the_audit_log_names_the_key_that_acted(closed_gateway: ClosedGateway) -> None:
    with closed_gateway.browser("actor") as browser:
        assert press(browser, "hold-open", "rack/tiny", lasts="10m", reason="new weights").status_code == 303
        page = browser.get("/").text
        press(browser, "reset-breaker", "rack/tiny")
    entry = closed_gateway.running.redis.xrevrange(keys.AUDIT_LOG, count=2)[1][1][b"entry"].decode()
    assert '"actor":"actor"' in entry
    assert '"via":"page"' in entry
    assert "new weights" in page


def test_a_session_ends_with_the_sign_out(closed_gateway: ClosedGateway) -> None:
    with closed_gateway.browser("actor") as browser:
        cookie = browser.cookies["openfall_session"]
        browser.post("/page/sign-out", data={"token": token_of(browser.get("/").text)})
        browser.cookies.set("openfall_session", cookie)
        assert browser.get("/").status_code == 303


def test_a_sign_in_ends_the_former_one_of_this_browser(closed_gateway: ClosedGateway) -> None:
    with closed_gateway.browser("reader") as browser:
        former = browser.cookies["openfall_session"]
        browser.post("/page/sign-in", data={"key": closed_gateway.secrets["actor"]})
        assert browser.get("/").status_code == 200
    answer = httpx.get(closed_gateway.running.url, headers={**HTML, "cookie": f"openfall_session={former}"}, timeout=60)
    assert answer.status_code == 303


def test_an_operator_signs_in_and_acts_while_the_memory_of_redis_is_full(closed_gateway: ClosedGateway) -> None:
    store = closed_gateway.running.redis
    store.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            store.set("x", 1)
        with closed_gateway.browser("actor") as browser:
            acts = [press(browser, "pause", "gpu.*"), press(browser, "local-only-on", reason="full")]
            kept = [store.scard(keys.PAUSED), store.hget(keys.BLOCKED, "local-only")]
            acts += [press(browser, "resume", "gpu.*"), press(browser, "local-only-off")]
    finally:
        store.config_set("maxmemory", 0)
    assert [act.status_code for act in acts] == [303] * 4
    assert kept == [6, b"full"]


def test_a_mistake_of_a_form_is_a_page_that_says_so(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        answer = press(browser, "hold-open", "rack/tinny")
        scripted = browser.post(
            "/page/act/pause",
            data={"token": token_of(browser.get("/").text), "subject": "<b>*"},
            headers={"accept": "application/json"},
        )
    assert answer.status_code == 400
    assert "rack/tiny" in answer.text
    assert scripted.status_code == 400
    assert "queue" in scripted.json()["message"]


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_a_form_leads_back_to_this_gateway_only(gateway: PageGateway, back: str) -> None:
    with gateway.browser() as browser:
        assert press(browser, "local-only-off", back=back).headers["location"] == "/"
        assert "evil" not in browser.get("/page/ask/pause", params={"subject": "gpu.*", "back": back}).text


def test_revoking_a_key_ends_its_sign_ins(closed_gateway: ClosedGateway) -> None:
    with closed_gateway.browser("guest") as browser:
        assert browser.get("/").status_code == 200
        closed_gateway.running.redis.hdel(keys.CLIENT_KEYS, "guest")
        with closed_gateway.browser("actor"):  # a sign-in reads the keys again
            pass
        assert browser.get("/").status_code == 303
