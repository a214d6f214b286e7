"""The commands of `openfall`. Data goes to standard output, everything else to standard error.

Exit codes are listed in docs/cli.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from openfall.producers.cli import error_lines, exit_codes, standard_streams
from openfall.producers.cli.early_interrupt import raise_on_interrupt
from openfall.producers.cli.options import common_options

COMMANDS = {
    "init": "Write an openfall.yaml that fits this machine.",
    "up": "Start everything on this machine: Redis, engines, workers.",
    "ask": "Ask one question and print the answer.",
    "embed": "Print the vectors of texts.",
    "resolve": "Show which model would answer, and why.",
    "preflight": "Check everything that the configuration names.",
    "enqueue": "Submit jobs and print their ids.",
    "job": "List jobs; show, explain, await or cancel one.",
    "batch": "Run a file of requests (OpenAI Batch JSONL).",
    "status": "Show the health of the fleet, and every queue.",
    "top": "Show the fleet at a glance, renewed every second.",
    "runbook": "Print what a cause means, and what to do.",
    "queues": "List queues; pause and resume them.",
    "workers": "List workers; stop one, or keep it from further jobs.",
    "models": "List models and their states; load, unload, check.",
    "cards": "List graphics cards: what each holds, loads, evicts.",
    "breakers": "List breakers; force one open or closed; reset it.",
    "local-only": "Keep all jobs in the local pools, or allow cloud pools again.",
    "spend": "Show calls and their cost.",
    "metrics": "Print the metrics of the fleet, for Prometheus.",
    "usage": "Sum up calls, tokens and cost by model, backend, group, day or month.",
    "stats": "Show requests, answers, times and tokens by model, role or group.",
    "budgets": "List budgets; raise one for a while.",
    "held": "List held jobs; replay, drop or export them.",
    "inbox": "Show the results in an inbox.",
    "outbox": "Show pending webhooks and notices, and failed ones.",
    "audit": "List what operators did, and why.",
    "config": "Check and show the configuration; print its schema, a .env.",
    "work": "Run the jobs of one pool.",
    "keys": "List the keys of the HTTP gateway; create and revoke them.",
    "serve": "Serve the HTTP APIs of OpenAI, Anthropic and others.",
    "sidecar": "Start, stop and switch the model servers of one machine.",
}
"""In the order of the help. The module of a command has its name and is imported when the command is used."""

ALIASES = {"doctor": "preflight", "degrade": "held"}

READER_LEFT = 128 + 13
"""The exit status that a shell reports for SIGPIPE. It is not 1, because no job failed."""

_OTHER_WORDS = {
    "version": " Did you mean '--version'?",
    "start": " Did you mean 'up'?",
    "stop": " Ctrl-C ends 'up'. One worker: 'openfall workers stop NAME'.",
    "down": " Ctrl-C ends 'up'. One worker: 'openfall workers stop NAME'.",
    "logs": " The logs of 'up' are in log/ of its data directory, .openfall/.",
}
"""Commands of other programs, and what they are here."""


def _closest(word: str) -> str:
    names = get_close_matches(word, COMMANDS, n=2)
    return f" Did you mean {' or '.join(map(repr, names))}?" if names else ""


class Commands(click.Group):
    """Imports a command when it is used. `openfall --help` imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        name = ALIASES.get(name, name)
        if name not in COMMANDS:
            return None
        module = name.replace("-", "_")
        command: click.Command = getattr(import_module(f"openfall.producers.cli.{module}"), module)
        if isinstance(command, click.Group) and not any(option.name == "config_path" for option in command.params):
            common_options(command)
        raise_on_interrupt()  # all of its modules are imported
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[:1] == ["help"]:  # as many programs have it
            if not args[1:]:
                self.main(["--help"], prog_name="openfall", standalone_mode=False)
                ctx.exit()
            args = [*args[1:], "--help"]
        if args and not args[0].startswith("-") and args[0] not in COMMANDS | ALIASES:
            ctx.fail(f"no command {args[0]!r}.{_OTHER_WORDS.get(args[0]) or _closest(args[0])}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="openfall", message="%(version)s")
@common_options
def openfall() -> None:
    """A durable queue between the people who need completions and the models that write them."""


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Every error that is known has one line."""
    try:
        code = _run(argv)
        sys.stdout.flush()
    except SystemExit as exit_:  # rich exits with 1 when the reader of a pipe is gone
        code = exit_.code if isinstance(exit_.code, int) else 1
    except OSError as error:
        code = 1
        if standard_streams.output_failure() is None:
            error_lines.report_system_error(error)
    failure = standard_streams.output_failure()
    if failure is None:
        return code
    standard_streams.discard_output()
    if isinstance(failure, BrokenPipeError):
        return READER_LEFT
    error_lines.report_lost_output(failure)
    return 1


def _run(argv: Sequence[str] | None) -> int:
    as_json = "--json" in (sys.argv[1:] if argv is None else argv)
    try:
        code = openfall.main(argv, prog_name="openfall", standalone_mode=False)
    except click.ClickException as error:
        return error_lines.show_usage_error(error, as_json)
    except (click.Abort, KeyboardInterrupt):
        return exit_codes.INTERRUPTED
    except exit_codes.known_errors() as error:
        return error_lines.show_error(error, as_json)
    return code if isinstance(code, int) else 0
