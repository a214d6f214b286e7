"""`openfall embed`: a vector for each text, as lines of JSON, and the model that gave them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.producers.cli.conftest import Run
from tests.producers.gateway.running_gateway import run
from tests.producers.gateway.test_embeddings import open_embedding_gateway, vectors


def test_each_text_has_its_vector_in_a_line_and_the_receipt_names_the_model(
    openfall: Run, redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        script = vectors([0.5, -1.0], [0.25, 2.0])
        async with open_embedding_gateway(redis_url, tmp_path, script) as gateway:

            def embed(*args: str, **more: Any) -> Any:
                return asyncio.to_thread(openfall, "embed", *args, "-m", "words", **more)

            plain = await embed("a lantern", "a festival")
            whole = await embed("-", "--json", "--dimensions", "2", stdin="a lantern\n\na festival\n")
            empty = await embed("-", stdin="\n")
            sent = json.loads(gateway.upstream.calls_received[1].body)
        assert [json.loads(line) for line in plain.stdout.splitlines()] == [[0.5, -1.0], [0.25, 2.0]]
        assert "words@rack" in plain.stderr
        assert json.loads(whole.stdout)["vectors"] == [[0.5, -1.0], [0.25, 2.0]]
        assert json.loads(whole.stdout)["model_used"] == "words"
        assert (sent["input"], sent["dimensions"]) == (["a lantern", "a festival"], 2)
        assert (empty.returncode, "there is no text" in empty.stderr) == (2, True)

    run(main)
