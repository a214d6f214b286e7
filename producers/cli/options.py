"""Options that several commands share, and the client that they open."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from openfall.config import LoadedConfig
    from openfall.producers.client import AsyncOpenfall
    from openfall.producers.request import SubmitOptions

PERHAPS_WITHIN = 2.0
"""Seconds that a command waits for a Redis that it can do without."""

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

config_option = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="An openfall.yaml; else the nearest is used."
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")

_JOB_OPTIONS = (
    click.option("-r", "--role", help="What is asked for: a role of the configuration."),
    click.option("-t", "--task", help="What kind of prompt it is; else its words tell."),
    click.option("-m", "--model", help="One model, by its name in the configuration; or auto."),
    click.option("-g", "--group", help="Whose job it is, such as whatsapp:main: its group's chain and limits apply."),
    click.option("--local-only", is_flag=True, help="It never leaves the local pools."),
    click.option("-u", "--urgency", help="interactive, background or batch."),
    click.option("--within", "expires_in", metavar="DURATION", help="How long an answer is wanted: 90s, 5m, 2h."),
    click.option("--deadline", metavar="WHEN", help="The moment itself: epoch seconds, or 2027-01-31T08:00:00+09:00."),
    click.option("--max-tokens", type=click.IntRange(min=1), help="The longest answer."),
    click.option("--temperature", type=click.FloatRange(min=0), help="How freely it is worded."),
    click.option("--key", "idempotency_key", help="The same key and request join the job that stands for them."),
    click.option("--inbox", metavar="NAME", help="Tell what comes of it there too: openfall inbox NAME."),
    click.option("--webhook", metavar="URL", help="Post what comes of it there too, signed."),
    click.option("--reply-to", metavar="JSON", help="Told with it, as it is: JSON, or else text."),
)


def job_options(command: F) -> F:
    """The options that say what is asked, of whom, and for how long."""
    for option in reversed(_JOB_OPTIONS):
        command = option(command)
    return command


def options_of(told: dict[str, Any]) -> SubmitOptions:
    """The client's options from the command line's."""
    from openfall.producers.request import parse_timestamp

    if told.get("deadline") is not None:
        told = {**told, "deadline": parse_timestamp(told["deadline"])}
    if told.get("reply_to") is not None:
        told = {**told, "reply_to": _json_or_text(told["reply_to"])}
    return cast("SubmitOptions", told)


def _json_or_text(told: str) -> Any:
    """What begins as a JSON object, list or string does is meant to be one: with a mistake in it, it is no address."""
    from pydantic_core import from_json

    try:
        return from_json(told)
    except ValueError as error:
        if told.lstrip().startswith(("{", "[", '"')):
            raise click.UsageError(f"--reply-to is not JSON: {error}") from None
        return told


@asynccontextmanager
async def opened(config_path: Path | None) -> AsyncIterator[AsyncOpenfall]:
    """A client that has reached its Redis: a wrong address is told at once, an outage later on is borne."""
    from openfall.producers.client import AsyncOpenfall

    async with AsyncOpenfall(config=config_path) as llm:
        await llm.store.ping()
        yield llm


@asynccontextmanager
async def perhaps_opened(config_path: Path | None) -> AsyncIterator[tuple[LoadedConfig, AsyncOpenfall | None]]:
    """The configuration, and a client of its Redis; None in place of the client when no Redis is there."""
    from openfall.config import NoRedis, load
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.errors import StoreError

    loaded = load(config_path)
    try:
        client = AsyncOpenfall(config=loaded)
    except NoRedis:
        yield loaded, None
        return
    async with client as llm:
        try:
            async with asyncio.timeout(PERHAPS_WITHIN):
                await llm.store.ping()
        except (StoreError, TimeoutError):
            yield loaded, None
            return
        yield loaded, llm


def with_client(config_path: Path | None, ask: Callable[[AsyncOpenfall], Awaitable[T]]) -> T:
    """What a client of this configuration is told."""

    async def main() -> T:
        async with opened(config_path) as llm:
            return await ask(llm)

    return run(main())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end."""
    return asyncio.run(work)


def text_of(told: str) -> str:
    """The argument, or all of standard input for `-`."""
    if told != "-":
        return told
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"standard input is not UTF-8 text (byte {error.start})") from None


def read_file(path: str) -> str:
    """A file as text, or standard input for `-`."""
    if path == "-":
        return text_of("-")
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 text (byte {error.start})") from None
