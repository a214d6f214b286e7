"""`openfall`, the command line. Data on standard output, everything else on standard error.

Exit codes: 0 ok; 1 a job failed, its queue is full, or no model would do; 2 usage or configuration; 3 Redis is
unreachable; 4 preflight found a failure; 5 some lines of a batch failed;
6 degraded, or another model answered than the first (with --strict); 7 no answer yet, the job goes on; 130 interrupted,
resumable; 141 whoever read standard output has left.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

import click

from openfall.producers.cli import exit_codes

COMMANDS = {
    "up": ("up", "Start everything on this machine: Redis, engines, workers."),
    "ask": ("ask", "Ask one question and print the answer."),
    "resolve": ("resolve", "Which model would answer, and why."),
    "preflight": ("preflight", "Is everything there that the configuration names? What to do if not."),
    "enqueue": ("job", "Put jobs in and print their ids."),
    "job": ("job", "Look at one job, wait for it, end it."),
    "batch": ("batch", "Carry out a file of requests (OpenAI Batch JSONL)."),
    "status": ("status", "One sentence of health, and every queue."),
    "queues": ("status", "What waits where; pause and resume."),
    "workers": ("status", "Who carries jobs out."),
    "models": ("models", "Every model and how it is; load, unload, check."),
    "breakers": ("breakers", "What is left alone, why and for how long; open and close by hand."),
    "local-only": ("local_only", "Let nothing leave the local pools, or let it again."),
    "spend": ("spend", "What was called for whom, and what it cost."),
    "degrade": ("held", "What nothing could serve; put it back, drop it, take it elsewhere."),
    "inbox": ("inbox", "What came of the jobs that name an inbox."),
    "outbox": ("outbox", "What is still to be posted, and what was given up."),
    "config": ("config", "Check a configuration; show what it comes to; help an editor."),
    "work": ("work", "Carry out the jobs of one pool."),
}
"""In the order in which help shows them: the module with the command, loaded when it is used, and what it does."""

ALIASES = {"doctor": "preflight"}

READER_LEFT = 128 + 13
"""As a shell tells the death by SIGPIPE: not 1, for no job has failed."""


class Commands(click.Group):
    """Loads a command when it is called for: `openfall --help` needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        name = ALIASES.get(name, name)
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f"openfall.producers.cli.{COMMANDS[name][0]}"), name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS | ALIASES:
            near = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"no command {args[0]!r}. " + (f"Did you mean {near[0]!r}?" if near else "See openfall --help."))
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="openfall", message="%(version)s")
def openfall() -> None:
    """A durable queue between the people who need completions and the models that write them."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit. What nobody foresaw is one line and a log; Python itself then exits with 1."""
    sys.excepthook = exit_codes.unforeseen
    sys.exit(_run(argv))


def _run(argv: Sequence[str] | None) -> int:
    try:
        code = _carried_out(argv)
        exit_codes.flush_output()
        return code
    except SystemExit as leaving:  # as click and rich leave, with 1, when the reader of a pipe has gone
        if not isinstance(leaving.__context__, BrokenPipeError) and not exit_codes.output_is_lost():
            raise
    except BrokenPipeError:
        pass
    except OSError as error:
        if not exit_codes.output_is_lost():
            raise
        exit_codes.silence_output()
        click.echo(f"openfall: cannot write standard output: {error.strerror}", err=True)
        return 1
    exit_codes.silence_output()
    return READER_LEFT


def _carried_out(argv: Sequence[str] | None) -> int:
    as_json = "--json" in (sys.argv[1:] if argv is None else argv)
    try:
        code = openfall.main(argv, prog_name="openfall", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return exit_codes.in_json(error, error.format_message(), 2) if as_json else 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except exit_codes.foreseen() as error:
        message, code = exit_codes.told(error)
        click.echo(message, err=True)
        return exit_codes.in_json(error, str(error), code) if as_json else code
    return code if isinstance(code, int) else 0
