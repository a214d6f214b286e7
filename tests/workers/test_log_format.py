"""A line of the log: its two forms, an exception in one line, and no secret and no prompt in any of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from openfall.config import LogFormat, load
from openfall.workers.log_format import LineFormatter, LogLine

PROMPT = "Haruka waves at the lanterns"
KEY = "sk-ant-a-very-secret-key"


def formatted(form: LogFormat, message: str, *arguments: object, secrets: tuple[str, ...] = (), **more: Any) -> str:
    log, lines = logging.Logger("openfall.jobs"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(LineFormatter(form, secrets).format(record))  # type: ignore[method-assign]
    log.addHandler(handler)
    log.warning(message, *arguments, **more)
    (line,) = lines
    return line


def as_json(message: str, *arguments: object, **more: Any) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(formatted(LogFormat.JSON, message, *arguments, **more))
    return line


def test_a_line_of_json_has_date_and_zone_level_logger_message_and_its_values() -> None:
    fields = {"job": "c07e51a2", "role": "main", "model": "haiku", "chain": ("sonnet", "haiku"), "task": None}
    line = as_json("%s in %s", "late", "cloud.haiku.batch", extra=fields)
    at = line.pop("at")
    assert line == {
        "level": "warning", "logger": "openfall.jobs", "message": "late in cloud.haiku.batch", "job": "c07e51a2",
        "role": "main", "model": "haiku", "chain": ["sonnet", "haiku"],
    }  # fmt: skip
    assert at[10] == "T"
    assert at[-6] in "+-"


def test_a_line_for_people_begins_with_the_job_and_ends_with_its_values() -> None:
    fields = {"job": "c07e51a2", "chain": ["a", "b"], "fallback": True, "cost_usd": 0.0003, "task": None, "why": "a b"}
    line = formatted(LogFormat.HUMAN, "answered", extra=fields)
    assert line.endswith(" W c07e51a2: answered; chain=a,b fallback=yes cost_usd=0.0003 task=- why=a b")


@pytest.mark.parametrize("form", list(LogFormat))
def test_a_record_is_one_line_whatever_is_in_it(form: LogFormat) -> None:
    hostile = "two\nlines\r\x1b[2J\u2028\x85\ud800"
    line = formatted(form, "%s", hostile, extra={"why": hostile})
    assert line.isprintable()
    assert len(line.splitlines()) == 1


def raise_value() -> None:
    raise ValueError(f"cannot read {PROMPT!r}")


def raise_key() -> None:
    {}[PROMPT]


def raise_validation() -> None:
    class Text(BaseModel):
        number: int

    Text.model_validate({"number": PROMPT})


def raise_from() -> None:
    try:
        raise_key()
    except KeyError as error:
        raise ConnectionResetError(104, "Connection reset by peer") from error


@pytest.mark.parametrize("form", list(LogFormat))
@pytest.mark.parametrize("fail", [raise_value, raise_key, raise_validation, raise_from])
def test_an_exception_is_one_line_with_its_places_and_without_a_value_that_it_quotes(
    form: LogFormat, fail: Callable[[], None]
) -> None:
    try:
        fail()
    except Exception:  # noqa: BLE001
        line = formatted(form, "internal error", exc_info=True, extra={"job": "c07e51a2"})
    assert "Haruka" not in line
    assert fail.__name__ in line
    assert "test_log_format.py:" in line
    assert len(line.splitlines()) == 1


def test_an_exception_of_the_system_keeps_its_words_and_names_its_cause() -> None:
    try:
        raise_from()
    except OSError:
        line = as_json("internal error", exc_info=True)
    assert line["error"] == "ConnectionResetError: [Errno 104] Connection reset by peer < KeyError"
    assert line["trace"].count(" < ") == 1


@pytest.mark.parametrize("form", list(LogFormat))
def test_no_line_has_a_secret_of_an_address_or_of_the_configuration(form: LogFormat) -> None:
    url = f"redis://user:{KEY}@host:6379/0 and https://api.example.com/v1?api_key={KEY}&page=2"
    assert KEY not in (line := formatted(form, "no answer from %s", url))
    assert "host:6379/0" in line
    assert "page=2" in line
    headers = {"authorization": f"Bearer {KEY}"}
    line = formatted(form, "sent %s", headers, secrets=(KEY, "ollama"), extra={"why": f"{KEY} of ollama"})
    assert KEY not in line
    assert "ollama" in line


def test_every_secret_of_a_configuration_is_masked(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(
        "redis: redis://:redis-password@127.0.0.1/0\n"
        "backends:\n"
        "  one: {protocol: openai, pool: cloud, api_keys: ['${ONE}', '${TWO}']}\n"
        "  two: {protocol: anthropic, pool: cloud, auth_token: '${THREE}'}\n"
        "models: {a: {upstream: a, backends: [one]}, b: {upstream: b, backends: [two]}}\n"
        "webhooks: {secret: '${SECRET}'}\n"
        "open_fall: {notify: {discord: '${DISCORD}', webhook: '${HOOK}'}}\n"
    )
    signing = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    environ = {
        "ONE": "sk-first-secret", "TWO": "sk-second-secret", "THREE": "token-third-secret", "SECRET": signing,
        "DISCORD": "https://discord.com/api/webhooks/123456/discord-token", "HOOK": "https://example.com/hook-path-token",
    }  # fmt: skip
    secrets = load(file, environ=environ).secrets
    expected = {"redis-password", "sk-first-secret", "sk-second-secret", "token-third-secret", "discord-token"}
    assert secrets == {*expected, signing, "hook-path-token"}
    line = LineFormatter(LogFormat.HUMAN, secrets).format_line(0.0, logging.INFO, "x", LogLine(" ".join(secrets)))
    assert not any(secret in line for secret in secrets)


def test_a_value_of_another_library_is_no_field() -> None:
    record = logging.makeLogRecord({"name": "uvicorn.error", "msg": "Started", "color_message": "\x1b[1mStarted"})
    assert LineFormatter(LogFormat.JSON).format(record).endswith('"logger":"uvicorn.error","message":"Started"}')
