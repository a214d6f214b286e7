"""The types of options that name a time."""

from __future__ import annotations

from collections.abc import Callable

import click

from openfall.producers.errors import BadRequest
from openfall.producers.job_request import parse_duration, parse_timestamp


class _Time(click.ParamType[str]):
    """Text that names a time. A wrong one is an error that names its option; the client reads it again."""

    def __init__(self, name: str, parse: Callable[[str, str], float]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            self._parse(value, param.opts[0] if param else self.name)
        except BadRequest as error:
            raise click.UsageError(str(error), ctx) from None
        return value


DURATION, WHEN = _Time("duration", parse_duration), _Time("when", parse_timestamp)
