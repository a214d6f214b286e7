"""The types of options that name a time."""

from __future__ import annotations

from collections.abc import Callable

import click


class _Time(click.ParamType[str]):
    """Text that names a time. A wrong one is an error that names its option; the client reads it again."""

    def __init__(self, name: str, parse: Callable[[str, str], float]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from openfall.producers.errors import BadRequest  # `openfall --help` reads this file, and imports nothing slow

        try:
            self._parse(value, param.opts[0] if param else self.name)
        except BadRequest as error:
            raise click.UsageError(str(error), ctx) from None
        return value


def _parse_duration(value: str, name: str) -> float:
    from openfall.producers.job_request import parse_duration

    return parse_duration(value, name)


def _parse_timestamp(value: str, name: str) -> float:
    from openfall.producers.job_request import parse_timestamp

    return parse_timestamp(value, name)


DURATION, WHEN = _Time("duration", _parse_duration), _Time("when", _parse_timestamp)
