"""Options that several commands share, and functions that open a client."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from openfall.producers.cli.time_options import DURATION, WHEN

if TYPE_CHECKING:
    from openfall.config import LoadedConfig
    from openfall.producers.client import AsyncOpenfall
    from openfall.producers.job_request import SubmitOptions
    from openfall.producers.operations.operator import Operator

OPTIONAL_REDIS_TIMEOUT_SECONDS = 2.0
"""For commands that also work without Redis."""

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def add_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """A decorator that adds options in this order."""

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def listing_group(list_all: Callable[..., None]) -> click.Group:
    """A group that runs this command unless one of its own is named."""

    @wraps(list_all)
    def callback(**options: Any) -> None:
        if click.get_current_context().invoked_subcommand is None:
            list_all(**options)

    return click.group(invoke_without_command=True)(callback)


def _remember(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
    """Keep an option that may stand before a command, behind it, or behind its group."""
    if value:
        ctx.meta[f"openfall.{parameter.name}"] = value


config_option = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), callback=_remember, expose_value=False,
    help="Configuration file. Default: the nearest openfall.yaml.",
)  # fmt: skip
json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_remember, expose_value=False, help="Print JSON."
)
common_options = add_options(config_option, json_option)
"""Of every command. `config_path` and `wants_json` return their values."""


def config_path() -> Path | None:
    """The `--config` of this command."""
    path: Path | None = click.get_current_context().meta.get("openfall.config_path")
    return path


def process_arguments(log_format: str | None = None) -> list[str]:
    """The arguments of a process that this command starts, or becomes."""
    config = ["--config", str(path)] if (path := config_path()) else []
    return config + (["--log-format", log_format] if log_format else [])


log_format_option = click.option(
    "--log-format", type=click.Choice(["human", "json"]), help="Format of the log. Default: `logs: {format: ...}`."
)
"""Of the commands that start processes."""

_ROUTE_OPTIONS = {
    "role": click.option("-r", "--role", help="Role of the configuration."),
    "task": click.option("-t", "--task", help="Task type. Default: classified by the prompt."),
    "model": click.option("-m", "--model", help="Model name in the configuration, or auto."),
    "group": click.option(
        "-g", "--group", help="Caller, such as whatsapp:main. The chain and limits of its group apply."
    ),
    "local_only": click.option("--local-only", is_flag=True, help="Use local pools only."),
    "urgency": click.option(
        "-u", "--urgency", help="interactive, background or batch. Default: that of the role or task, else background."
    ),
}

_JOB_OPTIONS = (
    click.option(
        "--expires-in", type=DURATION, help="Expire the job after this time: 90s, 5m, 2h. Default: that of its urgency."
    ),
    click.option(
        "--deadline", type=WHEN, help="Expire the job at this time: epoch seconds, or 2027-01-31T08:00:00+09:00."
    ),
    click.option("--max-tokens", type=click.IntRange(min=1), help="Maximum tokens of the answer."),
    click.option("--temperature", type=click.FloatRange(min=0), help="Sampling temperature."),
    click.option(
        "--key", "idempotency_key", help="Idempotency key. A repeated request with this key joins the existing job."
    ),
    click.option("--inbox", metavar="NAME", help="Also deliver the result to this inbox (openfall inbox NAME)."),
    click.option("--webhook", metavar="URL", help="Also post the result to this URL, signed."),
    click.option("--reply-to", metavar="JSON", help="JSON (or text) echoed back with the result."),
)


MIN_TYPED_LETTERS = 4
"""Letters of an id that a command needs."""


def check_id(_ctx: click.Context, _parameter: click.Parameter, typed: str | tuple[str, ...] | None) -> Any:
    """The typed ids. Each has enough letters to be one."""
    for text in (typed,) if isinstance(typed, str) else typed or ():
        if len(text) < MIN_TYPED_LETTERS:
            raise click.BadParameter(f"{text!r} is too short: type at least {MIN_TYPED_LETTERS} letters of the id.")
    return typed


def route_options(*names: str) -> Callable[[F], F]:
    """Add options that select a model."""
    return add_options(*(_ROUTE_OPTIONS[name] for name in names))


job_options = add_options(*_ROUTE_OPTIONS.values(), *_JOB_OPTIONS)
"""The options of a job: its chain, its limits, where its result goes."""


def submit_options(text: dict[str, Any]) -> SubmitOptions:
    """Convert command line options to options of the client."""
    if text.get("reply_to") is not None:
        text = {**text, "reply_to": _json_or_text(text["reply_to"])}
    return cast("SubmitOptions", text)


def _json_or_text(text: str) -> Any:
    """Text that starts like a JSON object, list or string must be valid JSON."""
    from pydantic_core import from_json

    try:
        return from_json(text)
    except ValueError as error:
        if text.lstrip().startswith(("{", "[", '"')):
            from openfall.router_core.json_fault_text import describe_json_fault

            raise click.UsageError(f"--reply-to is not JSON: {describe_json_fault(error)}") from None
        return text


@asynccontextmanager
async def open_client() -> AsyncIterator[AsyncOpenfall]:
    """Open a client and ping Redis. A wrong address fails at once; the client retries a later outage."""
    from openfall.producers.client import AsyncOpenfall

    async with AsyncOpenfall(config=config_path()) as llm:
        await llm.store.ping()
        yield llm


@asynccontextmanager
async def open_optional_client() -> AsyncIterator[tuple[LoadedConfig, AsyncOpenfall | None]]:
    """Load the configuration and open a client. The client is None if Redis does not answer."""
    import asyncio

    from openfall.config import NoRedis, load
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.errors import StoreError

    config = load(config_path())
    async with AsyncOpenfall(config=config) as llm:
        try:
            async with asyncio.timeout(OPTIONAL_REDIS_TIMEOUT_SECONDS):
                await llm.store.ping()
        except (StoreError, NoRedis, TimeoutError):
            yield config, None
            return
        yield config, llm


def with_client(action: Callable[[AsyncOpenfall], Awaitable[T]]) -> T:
    """Open a client, run an action with it, and return its result."""
    from openfall.producers.cli.event_loop import run_async

    async def main() -> T:
        async with open_client() as llm:
            return await action(llm)

    return run_async(main())


def with_operator(action: Callable[[Operator], Awaitable[T]]) -> T:
    """Run an action of an operator, which leaves a line in the audit log."""
    from openfall.producers.operations.operator import Operator

    return with_client(lambda llm: action(Operator(llm, llm.producer, "cli")))


def read_text(text: str) -> str:
    """The argument itself, or standard input for `-`."""
    if text != "-":
        return text
    if sys.stdin.isatty():
        from openfall.producers.cli.terminal import print_line

        print_line("reading the prompt from this terminal: Ctrl-D at the start of a line ends it")
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except OSError as error:
        raise click.UsageError(f"standard input cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise click.UsageError(f"standard input is not UTF-8 text (byte {error.start})") from None


def read_file(path: str) -> str:
    """The text of a file, or of standard input for `-`."""
    if path == "-":
        return read_text("-")
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 text (byte {error.start})") from None
