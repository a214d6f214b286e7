"""Paths that are passed through to a backend: which, with which headers, and what comes back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from openfall.producers.gateway.surfaces.passthrough import SUMMARY
from openfall.router_core.state import keys
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.client_keys import ClientKey, add_key, digest_of, fetch_keys
from openfall.router_core.state.operator_switches import set_local_only
from openfall.router_core.state.subscription_plans import list_plans
from tests.config.config_texts import check_text
from tests.faults import Script, answer, raw, stall
from tests.producers.gateway.running_gateway import CONFIG, RunningGateway, open_gateway, run

SECRET = "sk-rack-0123456789"
PATHS = "gateway: {max_body: 4KiB, passthrough: {backend: rack, paths: [/v1/rerank, /tokenize, /v1/models]}}"
KEYED = CONFIG.replace("slots: 64", f"slots: 64, api_key: {SECRET}")
RANKED = {"results": [{"index": 0, "relevance_score": 0.5}]}


def open_passing_gateway(redis_url: str, home: Path, *scripts: Script, **more: Any) -> Any:
    fleet: dict[str, Any] = {"more": PATHS, "config": KEYED, "pools": (), **more}
    return open_gateway(redis_url, home, *scripts, **fleet)


async def use_key(gateway: RunningGateway, **limits: Any) -> None:
    await add_key(gateway.link, ClientKey(name="bot", digest=digest_of("of_bot"), **limits))
    gateway.instance.keys = await fetch_keys(gateway.link)
    gateway.http.headers["authorization"] = "Bearer of_bot"


def test_a_configured_path_reaches_its_backend_with_the_key_of_the_backend_and_never_that_of_the_caller(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_passing_gateway(redis_url, tmp_path, answer(RANKED, 201, X_Secret=SECRET)) as gateway:
            await use_key(gateway)
            more = {"x-api-key": "of_bot", "api-key": "of_bot", "cookie": "of_bot", "x-other": "of_bot"}
            ranked = await gateway.http.post("/v1/rerank?top=2", json={"query": "a"}, headers=more)
            plain = await gateway.http.get("/tokenize")
            first, second = gateway.upstream.calls_received
            counted = await gateway.link.command("HGET", keys.COUNTERS, "passed_through")
        assert (ranked.status_code, ranked.json(), plain.status_code) == (201, RANKED, 201)
        assert (first.path, json.loads(first.body), second.path) == ("/v1/rerank?top=2", {"query": "a"}, "/tokenize")
        assert first.headers["authorization"] == f"Bearer {SECRET}"
        assert "of_bot" not in str(first.headers)
        assert "x-secret" not in ranked.headers
        assert ranked.headers["x-request-id"]
        assert int(counted) == 2

    run(main)


def test_what_a_passed_response_says_of_the_limits_of_a_subscription_is_noted(redis_url: str, tmp_path: Path) -> None:
    reply = answer(b"{}", anthropic_ratelimit_unified_5h_utilization="0.83", x_codex_primary_used_percent="20")

    async def main(config: str) -> list[tuple[float, float | None]]:
        async with open_passing_gateway(redis_url, tmp_path, reply, config=config) as gateway:
            assert (await gateway.http.get("/tokenize")).status_code == 200
            now = float((await gateway.link.command("TIME"))[0])
            plans = await list_plans(gateway.link, gateway.instance.config.catalog, now)
            return [(plan.window_seconds, plan.share) for plan in plans]

    flat = KEYED.replace("slots: 64", "slots: 64, billing: flat")
    assert run(lambda: main(flat)) == [(18_000.0, 0.83)]
    assert run(lambda: main(KEYED)) == [], "a backend that no subscription pays for"


def test_no_other_path_is_passed_through_and_those_of_the_gateway_stay_its_own(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_passing_gateway(redis_url, tmp_path, answer(RANKED)) as gateway:
            missing = [
                await gateway.http.post(path, json={})
                for path in ("/v1/rerankers", "/v1/rerank/more", "/tokenize/../props", "/v1/rerank%2f..%2fprops")
            ]
            models = await gateway.http.get("/v1/models")
            refused = await gateway.http.post("/v1/models", json={})
            calls = len(gateway.upstream.calls_received)
        async with open_passing_gateway(redis_url, tmp_path, answer(RANKED), more="") as gateway:
            off = await gateway.http.post("/v1/rerank", json={})
        assert [response.status_code for response in (*missing, off)] == [404] * 5
        assert refused.status_code == 405
        assert {"chat", "tiny"} <= {entry["id"] for entry in models.json()["data"]}
        assert calls == 0

    run(main)


def test_the_openapi_document_has_the_paths_that_are_passed_through(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_passing_gateway(redis_url, tmp_path) as gateway:
            paths = (await gateway.http.get("/openapi.json")).json()["paths"]
            page = (await gateway.http.get("/docs")).text
        ranking, models = paths["/v1/rerank"], paths["/v1/models"]
        assert {name: "requestBody" in each for name, each in ranking.items()} == {"get": False, "post": True}
        assert ranking["post"]["summary"] == SUMMARY
        assert [*models] == ["get"], "a path that the gateway serves itself stays the gateway's"
        assert models["get"]["summary"] != SUMMARY
        assert "/tokenize" in page

    run(main)


def test_a_stream_passes_in_its_parts_and_a_key_within_it_is_masked(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def script(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            writer.write(f"data: one\n\n{SECRET[:7]}".encode())
            await writer.drain()
            await gate.wait()
            writer.write(f"{SECRET[7:]} two sk".encode())
            await writer.drain()

        async with (
            open_passing_gateway(redis_url, tmp_path, script) as gateway,
            gateway.http.stream("POST", "/v1/rerank", json={}) as response,
        ):
            parts = response.aiter_raw()
            first = await anext(parts)
            gate.set()
            rest = b"".join([part async for part in parts])
        assert response.headers["content-type"] == "text/event-stream"
        assert (first, rest) == (b"data: one\n\n", b"*** two sk")

    run(main)


def test_a_backend_that_is_away_or_refuses_its_key_is_an_error_of_the_gateway(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        refused = answer({"error": f"Incorrect API key: {SECRET}"}, 401)
        cut = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        async with open_passing_gateway(redis_url, tmp_path, refused, raw(b""), cut) as gateway:
            responses = [await gateway.http.post("/v1/rerank", json={}) for _ in range(2)]
            with pytest.raises(httpx.RemoteProtocolError):
                await gateway.http.post("/v1/rerank", json={})
        assert [(each.status_code, each.json()["error"]["code"]) for each in responses] == [
            (503, "auth"),
            (502, "connection"),
        ]
        assert SECRET not in responses[0].text

    run(main)


def test_a_caller_that_leaves_ends_its_request_at_the_backend(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_passing_gateway(redis_url, tmp_path, stall) as gateway:
            request = asyncio.create_task(gateway.http.post("/v1/rerank", json={}))
            await gateway.upstream.arrived.wait()
            await cancel_all(request)
            await asyncio.wait_for(gateway.upstream.left.wait(), 60)

    run(main)


def test_the_limits_of_bodies_and_of_keys_hold_for_what_is_passed_through(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_passing_gateway(redis_url, tmp_path, answer(RANKED)) as gateway:
            large = await gateway.http.post("/v1/rerank", content=b"x" * 5000)
            await use_key(gateway, per_minute=1)
            allowed, over = [await gateway.http.post("/v1/rerank", json={}) for _ in range(2)]
            await add_key(gateway.link, ClientKey(name="own", digest=digest_of("of_own"), names=("chat",)))
            gateway.instance.keys = await fetch_keys(gateway.link)
            bound = await gateway.http.post("/v1/rerank", json={}, headers={"authorization": "Bearer of_own"})
            without = await gateway.http.post("/v1/rerank", json={}, headers={"authorization": ""})
        codes = [response.status_code for response in (large, allowed, over, bound, without)]
        assert codes == [413, 200, 429, 403, 401]

    run(main)


def test_nothing_is_passed_to_a_backend_elsewhere_while_jobs_must_stay(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        config = KEYED.replace("local: yes", "local: no")
        async with open_passing_gateway(redis_url, tmp_path, answer(RANKED), config=config) as gateway:
            open_to_all = await gateway.http.post("/v1/rerank", json={})
            own = await gateway.http.post("/v1/rerank", json={}, headers={"x-openfall-local-only": "yes"})
            await set_local_only(gateway.link, True)
            stays = await gateway.http.post("/v1/rerank", json={})
        assert [response.status_code for response in (open_to_all, own, stays)] == [200, 403, 403]
        assert stays.json()["error"]["code"] == "local_only"

    run(main)


@pytest.mark.parametrize(
    ("passthrough", "message"),
    [
        ("{backend: rck, paths: [/x]}", 'Did you mean "rack"'),
        ("{backend: rack, paths: ['/a/../b']}", "must be a path"),
        ("{backend: rack, paths: ['/a?b=c']}", "must be a path"),
        ("{paths: [/x]}", '"backend" is missing'),
    ],
)
def test_a_mistake_in_the_section_is_reported(tmp_path: Path, passthrough: str, message: str) -> None:
    text = CONFIG.format(
        redis="embedded",
        upstream="http://127.0.0.1:1",
        protocol="openai",
        models="",
        more=f"gateway: {{passthrough: {passthrough}}}",
    )
    assert any(message in problem for problem in check_text(tmp_path, text))


def test_a_request_whose_price_a_budget_cannot_pay_is_refused_with_402_before_it_is_sent(
    redis_url: str, tmp_path: Path
) -> None:
    more = (
        f"{PATHS.replace('backend: rack', 'backend: rack, usd_per_request: 0.4')}\nbudgets: [{{name: house, usd: 1}}]"
    )
    paid = KEYED.replace("local: yes", "local: no").replace("context: 8192", "context: 8192, max_tokens: 9")

    async def main() -> None:
        async with open_passing_gateway(redis_url, tmp_path, answer(RANKED), more=more, config=paid) as gateway:
            replies = [await gateway.http.post("/v1/rerank", json={}) for _ in range(3)]
            calls = len(gateway.upstream.calls_received)
        assert [reply.status_code for reply in replies] == [200, 200, 402]
        assert "budget house: $0.8 of its $1.00 are spent, it renews at 2" in replies[2].text
        assert calls == 2

    run(main)


def test_a_budget_that_counts_passed_requests_demands_their_price(tmp_path: Path) -> None:
    text = CONFIG.format(
        redis="embedded", upstream="http://127.0.0.1:9", models="", protocol="openai",
        more="gateway: {passthrough: {backend: rack, paths: [/v1/rerank]}}\nbudgets: [{name: house, usd: 1}]",
    ).replace("local: yes", "local: no").replace("context: 8192", "context: 8192, max_tokens: 9")  # fmt: skip
    (problem,) = check_text(tmp_path, text)
    assert "gateway.passthrough: budget house counts requests to rack" in problem
    assert "Set usd_per_request" in problem
    assert check_text(tmp_path, text.replace("{backend: rack,", "{backend: rack, usd_per_request: 0,")) == []
