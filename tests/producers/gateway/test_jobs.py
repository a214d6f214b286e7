"""The jobs of the queue over HTTP, and the legacy completions."""

from __future__ import annotations

from pathlib import Path

from openfall.router_core.state.client_keys import ClientKey, add_key, digest_of, fetch_keys
from tests.faults import COMPLETION, answer, stall
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run


async def two_keys(gateway: RunningGateway) -> tuple[dict[str, str], dict[str, str]]:
    """The headers of two keys of the gateway."""
    for name in ("mine", "yours"):
        await add_key(gateway.link, ClientKey(name=name, digest=digest_of(f"of_{name}")))
    gateway.instance.keys = await fetch_keys(gateway.link)
    return {"x-api-key": "of_mine"}, {"x-api-key": "of_yours"}


def test_a_job_of_a_caller_whose_wait_ended_is_read_and_ended_by_its_id(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway:
            late = await gateway.http.post(
                "/v1/chat/completions", json={"model": "chat", **SAY}, headers={"X-Openfall-Wait": "200ms"}
            )
            path = f"/v1/jobs/{late.headers['x-openfall-job']}"
            running = (await gateway.http.get(path)).json()
            ended = (await gateway.http.post(f"{path}/cancel")).json()
            again = (await gateway.http.post(f"{path}/cancel")).json()
        assert running["result"] is None
        assert (ended["changed"], ended["result"]["status"]) == (True, "cancelled")
        assert again["changed"] is False

    run(main)


def test_a_job_of_another_key_does_not_exist(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            mine, yours = await two_keys(gateway)
            made = await gateway.http.post("/v1/chat/completions", json={"model": "chat", **SAY}, headers=mine)
            path = f"/v1/jobs/{made.headers['x-openfall-job']}"
            own = await gateway.http.get(path, headers=mine)
            other = await gateway.http.get(path, headers=yours)
            none = await gateway.http.get("/v1/jobs/0000000000", headers=yours)
        assert own.status_code == 200
        assert (other.status_code, none.status_code) == (404, 404)
        assert other.json()["error"]["code"] == none.json()["error"]["code"] == "not_found"

    run(main)


def test_a_legacy_completion_is_answered_as_text(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            response = await gateway.http.post(
                "/completions", json={"model": "chat", "prompt": ["Haruka"], "echo": False}
            )
            several = await gateway.http.post("/completions", json={"model": "chat", "prompt": ["a", "b"]})
        body = response.json()
        assert (body["object"], body["choices"][0]["text"]) == ("text_completion", "A lantern festival.")
        assert several.status_code == 400
        assert several.json()["error"]["param"] == "prompt"

    run(main)


def test_the_newest_jobs_of_a_key_are_listed_and_no_others(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            mine, yours = await two_keys(gateway)
            made = await gateway.http.post("/v1/chat/completions", json={"model": "chat", **SAY}, headers=mine)
            own = (await gateway.http.get("/v1/jobs?state=answered", headers=mine)).json()
            other = (await gateway.http.get("/v1/jobs?producer=mine", headers=yours)).json()
            wrong = await gateway.http.get("/v1/jobs?state=answerd", headers=mine)
        assert [job["id"] for job in own["data"]] == [made.headers["x-openfall-job"]]
        assert other["data"] == []
        assert "Did you mean 'answered'?" in wrong.json()["error"]["message"]

    run(main)


def test_the_events_of_a_job_are_read_by_an_event_source_from_any_id_on(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            made = await gateway.chat(stream=True)
            path = f"/v1/jobs/{made.headers['x-openfall-job']}/events"
            whole = (await gateway.http.get(path)).text
            ids = [int(line.removeprefix("id: ")) for line in whole.splitlines() if line.startswith("id: ")]
            rest = (await gateway.http.get(path, headers={"Last-Event-ID": str(ids[1])})).text
        assert ids == sorted(ids)
        assert "event: done" in whole
        assert whole.endswith(rest)
        assert len(rest) < len(whole)

    run(main)
