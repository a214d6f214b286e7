"""Prints a result for `ask` and `job wait`: the answer to standard output, all else to standard error."""

from __future__ import annotations

from openfall.producers.cli.exit_codes import result_code
from openfall.producers.cli.held_text import interim_lines
from openfall.producers.cli.render import describe_failure, receipt
from openfall.producers.cli.terminal import echo, print_line, show_json, wants_json
from openfall.router_core.jobs.result import Result


def show_answer(result: Result, *, strict: bool = False, streamed: str = "") -> int:
    """Print a result, and return the exit code. `streamed` is the text that is on the screen already."""
    if wants_json():
        show_json(result.as_json())
    elif result.answered:
        _print(result.text, streamed)
        if result.final:
            print_line(receipt(result))
    if not result.final:
        for line in interim_lines(result):
            print_line(line)
    elif not result.answered:
        print_line(describe_failure(result))
        if result.status == "expired":
            print_line("submit it again with a longer --expires-in, or a later --deadline")
    return result_code(result, strict)


def _print(text: str, streamed: str) -> None:
    if streamed.strip() == text.strip():
        echo("" if streamed else text)
    else:
        echo(text.removeprefix(streamed) if text.startswith(streamed) else f"\n{text}")
