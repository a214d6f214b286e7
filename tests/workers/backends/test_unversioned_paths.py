"""A url without a version reaches a server with one in its paths, and a server without one."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.catalog.backend_entry import Backend, Protocol
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.admin.backend_preflight import is_listed
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.registry import open_backend
from tests.faults import COMPLETION, Script, answer, fault_server

NOT_ALLOWED = answer({"detail": "Method Not Allowed"}, 405)
NOT_FOUND = answer(b"<html>404</html>", 404)
NO_MODEL = answer({"error": {"message": "The model `m` does not exist", "code": "model_not_found"}}, 404)
NO_MODELS = (
    {"error": "model 'm' not found, try pulling it first"},
    {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404},
    {"error": {"message": "No endpoints found for m.", "code": 404}},
    {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}},
)
NO_PATHS = (
    {"detail": "Not Found"},
    {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}},
    {"error": {"message": "Invalid URL (POST /v1/chat/completions)", "type": "invalid_request_error"}},
    {"error": {"code": "404", "message": "Resource not found"}},
)


def refusal_of(body: object) -> Script:
    return answer(body, 404)


def asked(base: str, *scripts: Script, calls: int = 1, at_once: bool = False) -> tuple[list[Outcome], list[str]]:
    """The outcomes of some calls at that base, one after the other or at once, and the paths that the server
    received."""

    async def work() -> tuple[list[Outcome], list[str]]:
        async with fault_server(*scripts) as server:
            backend = open_backend(Backend(url=server.url + base, pool="gpu", protocol="openai"))
            request = Request(body={"messages": [{"role": "user", "content": "Hi"}]}, upstream="m", timeout=60)
            try:
                if at_once:
                    outcomes = await asyncio.gather(*(backend.complete(request) for _ in range(calls)))
                else:
                    outcomes = [await backend.complete(request) for _ in range(calls)]
            finally:
                await backend.close()
            return outcomes, [received.path for received in server.calls_received]

    return asyncio.run(asyncio.wait_for(work(), 60))


@pytest.mark.parametrize("base", ["/api", "/api/", ""])
@pytest.mark.parametrize("refusal", [NOT_ALLOWED, NOT_FOUND])
def test_a_server_without_a_version_in_its_paths_is_reached_and_remembered(base: str, refusal: Script) -> None:
    outcomes, paths = asked(base, refusal, answer(COMPLETION), calls=2)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    root = base.rstrip("/")
    assert paths == [f"{root}/v1/chat/completions", *[f"{root}/chat/completions"] * 2]


def test_a_call_that_began_before_the_path_was_known_reaches_it_too() -> None:
    arrived, known = asyncio.Event(), asyncio.Event()

    async def refuse_first(writer: asyncio.StreamWriter) -> None:
        await arrived.wait()
        await NOT_FOUND(writer)

    async def refuse_second(writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await known.wait()
        await NOT_FOUND(writer)

    async def complete(writer: asyncio.StreamWriter) -> None:
        await answer(COMPLETION)(writer)
        known.set()

    outcomes, paths = asked("", refuse_first, refuse_second, complete, calls=2, at_once=True)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert paths == ["/v1/chat/completions"] * 2 + ["/chat/completions"] * 2


@pytest.mark.parametrize("base", ["/client/v4/accounts/x/ai", "/v1/projects/p/", "/V4/a"])
def test_a_server_with_a_second_version_in_its_paths_is_reached_and_remembered(base: str) -> None:
    outcomes, paths = asked(base, NOT_FOUND, answer(COMPLETION), calls=2)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    root = base.rstrip("/")
    assert paths == [f"{root}/chat/completions", *[f"{root}/v1/chat/completions"] * 2]


@pytest.mark.parametrize("base", ["/v1", "/api/chat/completions", "/v4/a/v1", "/models?api-version=1"])
def test_a_path_that_the_url_names_is_not_replaced(base: str) -> None:
    outcomes, paths = asked(base, NOT_FOUND, answer(COMPLETION))
    assert isinstance(outcomes[0], Failure)
    assert len(paths) == 1


@pytest.mark.parametrize("refusal", [NO_MODEL, *map(refusal_of, NO_MODELS)])
def test_a_refusal_that_names_a_model_shows_that_the_server_knows_the_path(refusal: Script) -> None:
    outcomes, paths = asked("", refusal, refusal, calls=2)
    assert [getattr(outcome, "error_class", None) for outcome in outcomes] == [E.NOT_INSTALLED] * 2
    assert paths == ["/v1/chat/completions"] * 2


def test_the_other_path_is_remembered_also_if_its_refusal_names_a_model() -> None:
    outcomes, paths = asked("", NOT_FOUND, NO_MODEL, NO_MODEL, calls=2)
    assert [getattr(outcome, "error_class", None) for outcome in outcomes] == [E.NOT_INSTALLED] * 2
    assert paths == ["/v1/chat/completions", *["/chat/completions"] * 2]


@pytest.mark.parametrize("refusal", [NOT_FOUND, NOT_ALLOWED, *map(refusal_of, NO_PATHS)])
def test_a_server_that_knows_neither_path_is_reported_by_its_first_refusal(refusal: Script) -> None:
    outcomes, paths = asked("", refusal, answer(b"other", 404))
    assert "other" not in getattr(outcomes[0], "detail", "other")
    assert paths == ["/v1/chat/completions", "/chat/completions"]


def test_a_server_that_loses_the_path_that_it_had_is_reached_by_the_other() -> None:
    outcomes, paths = asked("", NOT_FOUND, answer(COMPLETION), NOT_FOUND, answer(COMPLETION), calls=2)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert paths == ["/v1/chat/completions", "/chat/completions", "/chat/completions", "/v1/chat/completions"]


def test_a_201_with_a_whole_answer_is_an_answer() -> None:
    assert isinstance(asked("", answer(COMPLETION, 201))[0][0], Completion)
    assert isinstance(asked("", answer(COMPLETION, 200, Content_Type="text/plain"))[0][0], Completion)


LISTED = (
    "openai/gpt-oss-120b", "google/gemma-3-27b-it:free", "models/gemini-3", "llama3", "llama3:8b", "hf.co/x/y:Q4",
    "grok-4-0709", "claude-opus-4-20250514",
)  # fmt: skip


@pytest.mark.parametrize(
    ("upstream", "protocol", "listed"),
    [
        ("openai/gpt-oss-120b:nitro", "openai", True),
        ("openai/gpt-oss-120b:groq", "openai", True),
        ("openai/gpt-oss-120b@cheapest", "openai", True),
        ("google/gemma-3-27b-it:free", "openai", True),
        ("gemini-3", "openai", True),
        ("openai/gpt-oss-120b@preset/mail", "openai", True),
        ("@preset/mail", "openai", True),
        ("grok-4", "openai", True),
        ("grok-4-latest", "openai", True),
        ("claude-opus-4-0", "anthropic", True),
        ("claude-opus-4", "anthropic", True),
        ("claude-opus-4-1", "anthropic", False),
        ("grok-3", "openai", False),
        ("@preset/mail", "ollama", False),
        ("openai/gpt-oss-12b:nitro", "openai", False),
        ("google/gemma-3-27b-it", "openai", False),
        ("llama3:70b", "ollama", False),
        ("llama3:70b", "openai", False),
        ("hf.co/x/y:Q8", "ollama", False),
    ],
)
def test_a_variant_of_a_listed_model_is_not_missing(upstream: str, protocol: Protocol, listed: bool) -> None:
    assert is_listed(LISTED, upstream, protocol) is listed
