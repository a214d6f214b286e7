"""Renders the templates of the page. Every text from outside is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from openfall.producers.duration_text import format_age
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.section import Section
from openfall.producers.worker_log_text import describe_log

HEALTH = "health"
"""The section that says that Redis is away. The others are then of an earlier moment."""
_TICKING = re.compile(r"(<time [^>]*>)[^<]*")
"""The text of an age or a countdown. The script of the page renews it: it alone is no change of a section."""


def _age(since: float | None, now: float) -> Markup:
    """For how long something is so, as an element that counts on by itself."""
    return _ticking("since", since, format_age(None if since is None else max(0.0, now - since)))


def _countdown(until: float | None, now: float) -> Markup:
    """How long it is until a moment, as an element that counts on by itself."""
    return _ticking("until", until, format_age(None if until is None else max(0.0, until - now)))


def _ticking(kind: str, moment: float | None, text: str) -> Markup:
    if moment is None:
        return Markup("–")
    iso = datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
    return Markup('<time datetime="{}" data-{}="{}" title="{}">{}</time>').format(
        iso, Markup(kind), f"{moment:.0f}", _moment(moment), text
    )


def _moment(moment: float) -> str:
    """A moment in the time zone of the gateway."""
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def _clock(moment: float) -> str:
    """The time of a moment of today."""
    return f"{datetime.fromtimestamp(moment).astimezone():%H:%M}"


def _duration(seconds: float) -> str:
    """How long something took."""
    return f"{seconds:.1f}s" if seconds < 60 else format_age(seconds)


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _plural(number: int, noun: str, nouns: str = "") -> str:
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "age": _age,
        "countdown": _countdown,
        "moment": _moment,
        "clock": _clock,
        "count": _count,
        "plural": _plural,
        "seconds": format_age,
        "duration": _duration,
        "log_place": describe_log,
    }
    return environment


_ENVIRONMENT = _environment()


def compile_templates() -> None:
    """Compile every template, which takes about 0.3 s of CPU. Else the first visitor, and every stream of the process,
    waits for that."""
    for name in _ENVIRONMENT.list_templates():
        _ENVIRONMENT.get_template(name)


def render(template: str, *, root_path: str = "", **values: Any) -> str:
    """`root_path`: what stands before each path of a link (`gateway: {root_path: ...}`)."""
    return _ENVIRONMENT.get_template(template).render(values, root_path=root_path)


def render_section(section: Section, snapshot: PageSnapshot, actions: Mapping[str, Any], root_path: str) -> str:
    """`actions`: what may be pressed, by name."""
    values = {"now": snapshot.at, "actions": actions, **section.context(snapshot)}
    html = render(section.template, root_path=root_path, **values)
    if snapshot.redis_away_since is None or section.name == HEALTH:
        return html
    return render(
        "old_section.html", html=html, read_at=snapshot.now, now=snapshot.at, is_known=snapshot.status.now > 0
    )


def without_ages(html: str) -> str:
    """A section without what changes by itself: two that are equal show the same."""
    return _TICKING.sub(r"\1", html)
