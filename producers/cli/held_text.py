"""Text about held jobs: the interim reply of each, its fall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.producers.duration_text import format_time
from openfall.producers.shell_command import shell_command
from openfall.router_core.jobs.answer_reason import describe_reply
from openfall.router_core.jobs.result import Result
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF


def interim_lines(result: Result) -> Iterator[str]:
    """The lines for a caller whose job is held."""

    because = result.degraded_why or result.detail
    reply = f"this is an interim reply ({describe_reply(result)})" if result.answered else "there is no reply yet"
    yield f"no model can answer now, so {reply}"
    yield f"the reason is {result.held_for}" + (f": {because}" if because else "")
    if result.held_for in RELEASED_BY_ITSELF:
        until = "its deadline" if result.held_until is None else format_time(result.held_until)
        kept = f"the job is held until {until}, and will be answered by itself"
        yield f"{kept}. Its answer: {shell_command('openfall job wait', result.id)}"
    else:
        yield f"the job is held until an operator replays it: {shell_command('openfall held show', result.id)}"


def describe_fall(fall: Mapping[str, Any]) -> str:
    """One fall as a line: `2026-11-21 08:00:00+01:00  c07e51a2  chat/interactive  outage: ...; got: canned_reply`."""
    tried = ", ".join(
        f"{attempt['model']}@{attempt['backend']} {attempt.get('cause') or attempt['error'] or 'answered'}"
        for attempt in fall.get("tried", ())
    )
    reply = str(fall.get("by") or "nothing") + ("" if fall.get("final") else ", the job continues")
    owner = f"{fall.get('role') or '-'}/{fall.get('urgency') or '-'}"
    return (
        f"{format_time(fall['at'])}  {fall['id']}  {owner}  {fall['reason']}: {fall['detail']}"
        f"  · tried: {tried or 'no call ended'}  · got: {reply}"
    )
