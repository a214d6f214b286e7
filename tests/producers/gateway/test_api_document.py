"""`/openapi.json` for code generators, and `/docs` for people: both from the one table of routes."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.gateway.api_document import api_document
from openfall.producers.gateway.api_page import api_page
from openfall.producers.gateway.app import ENDPOINTS
from openfall.producers.gateway.job_headers import JOB_HEADERS
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run

DOCUMENT = api_document(ENDPOINTS)
OPERATIONS = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]
PAGE = (Path(__file__).parents[3] / "docs" / "http.md").read_text(encoding="utf-8")


def _references(node: Any) -> Iterator[str]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and isinstance(node.get("$ref"), str):
        yield node["$ref"]
    for child in children:
        yield from _references(child)


def test_every_reference_leads_somewhere_and_every_operation_has_an_id_of_its_own() -> None:
    for reference in set(_references(DOCUMENT)):
        node = DOCUMENT
        for word in reference.removeprefix("#/").split("/"):
            node = node[word]
    ids = [operation["operationId"] for operation in OPERATIONS]
    assert all(name.isidentifier() for name in ids)
    for_programs = [endpoint for endpoint in ENDPOINTS if not endpoint.path.startswith("/page/")]
    assert len(set(ids)) == len(ids) == len(for_programs)


def test_an_operation_has_its_parameters_headers_body_answers_and_errors() -> None:
    paths = DOCUMENT["paths"]
    chat, message = paths["/v1/chat/completions"]["post"], paths["/v1/messages"]["post"]
    assert chat["requestBody"]["required"]
    assert {"200", "400", "401", "404", "413", "422", "429", "502", "503", "504", "default"} <= set(chat["responses"])
    assert "held" in chat["responses"]["503"]["description"]
    assert message["responses"]["529"]["content"]["application/json"]["schema"]["$ref"].endswith("AnthropicError")
    assert len(chat["parameters"]) == len(JOB_HEADERS)
    assert {"x-openfall-job", "idempotency-replayed"} <= set(chat["responses"]["200"]["headers"])
    for path, method in (("/v1/messages", "post"), ("/v1/responses/{id}", "get"), ("/v1/jobs/{id}/events", "get")):
        assert "text/event-stream" in paths[path][method]["responses"]["200"]["content"]
    named = [parameter["name"] for parameter in paths["/v1/responses/{id}"]["get"]["parameters"]]
    assert named == ["id", "stream", "starting_after"]


def test_what_people_open_may_answer_an_error_with_a_page() -> None:
    for path, method in (("/job/{id}", "get"), ("/try/{id}/events", "get"), ("/rq/{path}", "post")):
        described = DOCUMENT["paths"][path][method]["responses"]["404"]["content"]
        assert set(described) == {"application/json", "text/html"}
    assert set(DOCUMENT["paths"]["/v1/models"]["get"]["responses"]["404"]["content"]) == {"application/json"}


@pytest.mark.parametrize("name", JOB_HEADERS)
def test_each_header_of_a_job_is_on_the_page_of_the_gateway(name: str) -> None:
    assert name in PAGE or f"`-{name.removeprefix('X-Openfall-')}`" in PAGE


def test_the_page_has_every_path_and_neither_scripts_nor_foreign_hosts() -> None:
    page = api_page(DOCUMENT)
    assert all(re.search(rf'class="path">{re.escape(path)}<', page) for path in DOCUMENT["paths"])
    assert not re.search(r"<script|javascript:|\son\w+=|https?://|@import|url\(", page)
    assert "color-scheme:light dark" in page


def test_the_page_and_the_document_are_served_without_a_key_under_a_strict_policy(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            page, described = await gateway.http.get("/docs"), await gateway.http.get("/openapi.json")
        assert described.json() == DOCUMENT
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert 'href="/openapi.json"' in page.text  # right at /docs/ too
        style = re.search(r"<style>(.*?)</style>", page.text, re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        policy = page.headers["content-security-policy"]
        assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
        assert "unsafe" not in policy

    run(main)
