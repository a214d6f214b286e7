"""Arguments of the client: a wrong one is an error that names the argument, its type and what is expected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from openfall import AsyncOpenfall, BadRequest, JobRequest, Openfall, OpenfallError, SubmitOptions, UnknownName
from openfall.config import LoadedConfig
from openfall.producers.arguments import OUTCOMES, RESOLVE_OPTIONS, SUBMIT_OPTIONS
from openfall.producers.runtime_model import CallOutcome, ResolveOptions
from tests.producers.clients import run

NESTED: list[Any] = []
for _ in range(100_000):
    NESTED = [NESTED]
ENDLESS: dict[str, Any] = {}
ENDLESS["a"] = ENDLESS
BARE = """
redis: embedded
data: .openfall
pools: {gpu: {local: yes}}
backends: {rack: {protocol: openai, url: "http://127.0.0.1:9", pool: gpu}}
models: {tiny: {upstream: tiny-1, backends: [rack]}}
roles: {chat: {chain: [tiny]}}
"""

HI = [{"role": "user", "content": "hi"}]

WRONG: dict[str, Any] = {
    "nothing": None, "a flag": True, "a number": 7, "a negative number": -1, "nan": float("nan"), "inf": float("inf"),
    "an enormous number": 10**400, "bytes": b"x", "a set": {1, 2}, "an object": object(), "a list": [1],
    "a mapping": {"a": 1}, "a date": date(2027, 1, 1), "a timedelta": timedelta(5), "a decimal": Decimal(5),
    "a function": len, "an exception": ValueError("x"), "a generator": (letter for letter in "ab"),
    "nested lists": NESTED, "a mapping that has itself": ENDLESS, "half an emoji": "\ud83d",
    "a long text": "x" * 99_999,
}  # fmt: skip


@pytest.mark.parametrize(
    ("table", "options"), [(SUBMIT_OPTIONS, SubmitOptions), (RESOLVE_OPTIONS, ResolveOptions), (OUTCOMES, CallOutcome)]
)
def test_every_option_has_a_check(table: Any, options: Any) -> None:
    assert table.keys() == options.__annotations__.keys()


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_any_value_in_any_place_is_taken_or_refused_with_an_exported_error(loaded: LoadedConfig, value: Any) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        model = await llm.resolve("chat")
        calls: list[Callable[[], Any]] = [
            lambda: llm.submit(value),
            *(lambda name=name: llm.submit("x", **{name: value}) for name in SUBMIT_OPTIONS),
            *(lambda name=name: llm.resolve(**{name: value}) for name in (*RESOLVE_OPTIONS, "role")),
            *(lambda name=name: llm.report(model, **{name: value}) for name in OUTCOMES),
            *(
                lambda body=body, dialect=dialect: llm.submit(body, dialect=dialect)
                for dialect in ("openai", "anthropic", "ollama")
                for body in (
                    {"messages": value},
                    {"messages": [value]},
                    {"messages": [{"role": "user", "content": value}]},
                    {"messages": [{"role": value, "content": "x"}]},
                    {"messages": [{"role": "user", "content": [value]}]},
                    *({"messages": HI, name: value} for name in ("model", "stream", "max_tokens", "tools", "extra")),
                )
            ),
            lambda: llm.submit_many(value),
            lambda: llm.submit_many([JobRequest("x", value)]),
            lambda: llm.wait(value, 0.01),
            lambda: llm.wait("job-00000001", value),
            lambda: llm.result(value),
            lambda: llm.record(value),
            lambda: llm.cancel(value),
            lambda: anext(llm.stream(value)),
            lambda: anext(llm.stream("job-00000001", cursor=value)),
            lambda: llm.load_model(value),
            lambda: llm.report(value),
        ]
        refusals: list[str] = []
        for call in calls:
            try:
                await call()
            except OpenfallError as error:
                refusals.append(str(error))
        assert refusals
        assert not [words for words in refusals if not 0 < len(words) < 500], "no error repeats a long value"

    run(loaded, use)


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        (None, {}, "the prompt must be text, a list of messages, or a whole request body, not NoneType"),
        (b"hi", {}, "the prompt must be text, .* not bytes"),
        ({"hi"}, {}, "the prompt must be text, .* not set"),
        (["hi"], {}, r"messages\[0\] must be an object {role, content}, not str"),
        ([{"role": "user", "content": {"a"}}], {}, r"messages\[0\] has a content of a wrong type \(set\): write text"),
        ([{"role": "user", "content": [{"url": b"x"}]}], {}, r"as JSON: `messages\[0\].content\[0\].url` is bytes"),
        ({"messages": HI, "top_k": float("nan")}, {}, "cannot be written as JSON: `top_k` is nan"),
        ({"messages": HI, "stream": "yes"}, {}, "`stream` must be True or False, not text"),
        ("x", {"role": 7}, "`role` must be text of at most 256 characters, not 7"),
        ("x", {"role": "x" * 9000}, "`role` must be text of at most 256 characters, not text of 9,000 characters"),
        ("x", {"local_only": "no"}, "`local_only` must be True or False, not text"),
        ("x", {"group": "a\nb"}, "`group` must be text of at most 256 characters without control characters"),
        ("x", {"group": "\ud83d"}, "`group` must be text .* not text with half a character"),
        ("x", {"expires_in": timedelta(5)}, "`expires_in` must be seconds or text such as .* not timedelta"),
        ("x", {"expires_in": -5}, "`expires_in` must be more than 0, not -5"),
        ("x", {"expires_in": 10**400}, "`expires_in` is not a duration: int"),
        ("x", {"deadline": date(2027, 1, 1)}, "`deadline` must be epoch seconds, an aware datetime, .* not date"),
        ("x", {"stop": {"a"}}, "`stop` must be text or a list of text, not set"),
        ("x", {"max_tokens": 10**400}, "`max_tokens` must be a number, not int"),
        ("x", {"response_format": "json"}, "`response_format` must be an object, not text"),
        ("half \ud83d", {}, "half a character"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named_with_its_type_and_what_is_expected(
    loaded: LoadedConfig, prompt: Any, options: Any, words: str
) -> None:
    with pytest.raises(BadRequest, match=words):
        run(loaded, lambda llm: llm.submit(prompt, **options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"redis_url": "localhost:6379"}, "`redis_url` must be an address such as redis://.* not text of another form"),
        (
            {"redis_url": "http://127.0.0.1:8309/v1"},
            "not that of a gateway, which the SDKs of OpenAI and Anthropic take",
        ),
        ({"redis_url": b"redis://x"}, "`redis_url` must be an address such as .* not bytes"),
        ({"config": 7}, "`config` must be the path of a file, or a loaded configuration, not 7"),
        ({"producer": ""}, "`producer` must be text of 1 to 128 characters"),
        ({"retry_for": float("nan")}, "`retry_for` must be a number of seconds, 0 or more, not nan"),
        ({"retry_for": None}, "`retry_for` must be a number of seconds, 0 or more, not NoneType"),
    ],
)
@pytest.mark.parametrize("client", [AsyncOpenfall, Openfall])
def test_a_wrong_argument_of_a_client_is_refused_by_its_constructor(client: Any, options: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        client(**options)


@pytest.mark.parametrize("requests", ["a text", b"bytes", {"a": 1}, 7, None])
def test_one_prompt_is_not_taken_for_many(loaded: LoadedConfig, requests: Any) -> None:
    with pytest.raises(BadRequest, match="`requests` must be a list of prompts"):
        run(loaded, lambda llm: llm.submit_many(requests))


def test_an_unknown_keyword_is_named_with_the_nearest_one(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        with pytest.raises(UnknownName, match=r"unknown option 'local_onli'. Did you mean 'local_only'"):
            await llm.submit("x", local_onli=True)  # type: ignore[call-arg]
        with pytest.raises(UnknownName, match=r"unknown option 'grup'. Did you mean 'group'"):
            await llm.resolve("chat", grup="x")  # type: ignore[call-arg]
        with pytest.raises(UnknownName, match=r"unknown outcome 'eror'. Did you mean 'error'"):
            await llm.report(await llm.resolve("chat"), eror="x")  # type: ignore[call-arg]

    run(loaded, use)


def test_values_that_json_has_are_taken_as_they_are(loaded: LoadedConfig, answering: Any) -> None:
    body = {"messages": ({"role": "user", "content": "NaN and Infinity"},), "big": 2**70, "list": (1, 2.5, None, True)}
    run(loaded, lambda llm: llm.ask({**body, "messages": list(body["messages"])}))
    assert answering.jobs[0].body["big"] == 2**70


def test_a_refused_submit_names_the_job_to_submit_again(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        with pytest.raises(OpenfallError) as caught:
            await llm.submit("x", deadline=1.0)
        assert caught.value.job_id
        assert (await llm.submit("x", id=caught.value.job_id)).id == caught.value.job_id

    run(loaded, use)


def test_a_client_starts_before_its_fleet_and_names_the_remedy(tmp_path: Any) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(BARE)
    llm = AsyncOpenfall(config=file, retry_for=0)
    with pytest.raises(OpenfallError, match="Start it, or set REDIS_URL"):
        asyncio.run(llm.submit("x"))


def test_a_client_waits_for_a_fleet_that_starts_meanwhile(tmp_path: Any, redis_url: str) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(BARE)

    async def main() -> str:
        async with AsyncOpenfall(config=file, retry_for=20) as llm:
            submitting = asyncio.create_task(llm.submit("x"))
            await asyncio.sleep(0)
            (tmp_path / ".openfall").mkdir()
            (tmp_path / ".openfall" / "redis.url").write_text(redis_url)
            return (await llm.record((await submitting).id)).state

    assert asyncio.run(main()) == "queued"
