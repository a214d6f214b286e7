"""A switch of the model in memory, and its status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openfall.router_core.state.audit_log import read_entries
from openfall.router_core.state.loading_marks import note_loading
from tests.faults import answer
from tests.producers.gateway.running_gateway import CONFIG, open_gateway, run

LOADED = answer({"done": True, "models": [{"name": "tiny-1", "size": 1, "size_vram": 1}]})


def parse(text: str) -> list[tuple[str, Any]]:
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    return [(event["event"], json.loads(event["data"])) for event in events]


def test_a_switch_loads_a_model_and_the_status_shows_it(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, LOADED, protocol="ollama", pools=()) as gateway:
            switched = await gateway.http.post("/models/switch", json={"profile": "chat"})
            streamed = await gateway.http.post(
                "/models/switch", json={"model": "tiny-1"}, headers={"accept": "text/event-stream"}
            )
            status = (await gateway.http.get("/models/status")).json()
            entries = await read_entries(gateway.link, 10)
        assert switched.json()["active"] == "tiny"
        assert [name for name, _ in parse(streamed.text)][-1] == "ready"
        assert parse(streamed.text)[0][1]["model"] == "tiny"
        assert (status["active"], status["switching_to"]) == ("tiny", None)
        assert [(entry.via, entry.action, entry.subject) for entry in entries] == [("http", "model.load", "tiny")] * 2
        assert status["elapsed_s"] is None
        assert status["queue"]["waiting"] == 0

    run(main)


def test_a_switch_beside_another_one_and_to_an_unknown_model_are_refused(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, LOADED, protocol="ollama", pools=()) as gateway:
            async with note_loading(gateway.link, "rack", "other"):
                status = (await gateway.http.get("/models/status")).json()
                busy = await gateway.http.post("/models/switch", json={"model": "tiny"})
            unknown = await gateway.http.post("/models/switch", json={"model": "tiyn"})
        assert (status["switching_to"], status["state"]) == ("other", "loading")
        assert 0 <= status["elapsed_s"] < 30
        assert (busy.status_code, busy.json()["error"]["code"]) == (409, "switching")
        assert unknown.status_code == 404
        assert "'tiny'" in unknown.json()["error"]["message"]

    run(main)


def test_a_model_that_does_not_load_is_an_error_in_a_response_and_in_events(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        broken = answer({"error": "cudaMalloc failed: out of memory"}, 500)
        async with open_gateway(redis_url, tmp_path, broken, protocol="ollama", pools=()) as gateway:
            failed = await gateway.http.post("/models/switch", json={"model": "tiny"})
            streamed = await gateway.http.post(
                "/models/switch", json={"model": "tiny"}, headers={"accept": "text/event-stream"}
            )
        name, body = parse(streamed.text)[-1]
        assert (failed.status_code, failed.json()["error"]["code"]) == (503, "no_vram")
        assert (name, body["error"]["code"]) == ("failed", "no_vram")

    run(main)


def test_the_status_counts_the_restarts_of_the_engines_of_openfall_up(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        config = CONFIG.replace("slots: 64", "slots: 64, embedded: yes")
        async with open_gateway(redis_url, tmp_path, LOADED, config=config, pools=()) as gateway:
            before = (await gateway.http.get("/models/status")).json()
            data = gateway.instance.config.settings.data_dir
            data.mkdir(parents=True, exist_ok=True)
            (data / "rack.restarts").write_text("3\n")
            after = (await gateway.http.get("/models/status")).json()
        assert (before["restarts"], after["restarts"]) == (None, 3)

    run(main)
