"""An error of a command as one line on standard error, and as JSON with `--json`."""

from __future__ import annotations

import os

import click

from openfall.producers.cli.exit_codes import explain

_PLAIN = {"a valid integer range": "a whole number", "a valid float range": "a number"}
"""The words of click for a type, and those of people."""
_ADDRESS = " The configuration has the address: `gateway: {listen: [...]}`, or OPENFALL_PORT without a file."

_EXTRA_ARGUMENTS = {
    "ask": 'A text of several words stands in quotes: openfall ask "Haruka waves".',
    "enqueue": "A prompt as text: echo 'TEXT' | openfall enqueue.",
}
"""What people mean by more arguments than a command takes, by its name."""
_FILE_AS_ARGUMENT = "A configuration is named by an option: --config FILE."


def report_lost_output(error: OSError) -> None:
    """Print why standard output cannot be written."""
    from openfall.producers.cli.terminal import print_line

    print_line(f"openfall: cannot write standard output: {error.strerror}")


def show_error(error: Exception, as_json: bool) -> int:
    """Print a known exception, and return the exit code."""
    from openfall.producers.cli.terminal import print_line

    message, code = explain(error)
    print_line(message)
    if as_json:
        _show_json_error(error, str(error), code)
    return code


def show_usage_error(error: click.ClickException, as_json: bool) -> int:
    """Print an error of the command line, which may repeat an argument, in one line, and return the exit code. A
    group without a command shows its help."""
    from openfall.producers.cli.terminal import print_line

    context = getattr(error, "ctx", None)
    command = context.command_path if context else "openfall"
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # its message is the whole help
        print_line(error.format_message())
        return 2
    message = " ".join(error.format_message().split())
    for words, plain in _PLAIN.items():
        message = message.replace(words, plain)
    message += _ADDRESS if getattr(error, "option_name", "") in ("--port", "--host", "--listen") else ""
    if remedy := _explain_extra(message, context.info_name if context else ""):
        message = f"{message.rstrip('.')}. {remedy}"
    print_line(f"{command}: {message}{'' if message.endswith(('.', '?')) else '.'} See `{command} --help`.")
    if as_json:
        _show_json_error(error, message, 2)
    return 2


def _explain_extra(message: str, command: str | None) -> str:
    """The remedy for more arguments than a command takes; empty: the message is about another mistake."""
    if "unexpected extra argument" not in message:
        return ""
    return _FILE_AS_ARGUMENT if ".yaml" in message or ".yml" in message else _EXTRA_ARGUMENTS.get(command or "", "")


def _show_json_error(error: Exception, message: str, code: int) -> None:
    """`{"error": ..., "kind": ..., "exit_code": ...}`."""
    from openfall.producers.cli.terminal import show_json

    show_json({"error": message, "kind": type(error).__name__, "exit_code": code})


def report_system_error(error: OSError) -> None:
    """Print what the system refuses, in words: a file, a directory, the number of open files."""
    from openfall.producers.cli.terminal import print_line

    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    print_line(f"openfall: {': '.join([*names, error.strerror or str(error)])}")
