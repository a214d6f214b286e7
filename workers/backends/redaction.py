"""Hides keys and addresses in words of a provider. Error codes, ids and names of models stay readable. Pure."""

from __future__ import annotations

import re

MIN_UNNAMED_LENGTH = 32
"""Characters from which a random text counts as a key although nothing names it as one."""

_URL = re.compile(r"https?://\S+")
_PREFIXED = re.compile(
    r"(?i)\b(?:bearer\s+\S+"
    r"|(?:sk|rk|pk|gsk|csk|xai|r8|hf|fw|tgp|nvapi|pplx|glpat|ghp|gho|whsec|api[_-]?key|key)[-_=:]"
    r"(?=[^\s\"',;]*[\d*]|(?<=[=:])\S{4})[^\s\"',;]{4,}"
    r"|AIza[\w*-]+|eyJ[\w-]{8,}(?:\.[\w-]+)*)"
)
"""A key that its prefix shows. The word after `key_` of an error code (`api_key_invalid`) has no digit."""

_NAMED = re.compile(
    r"(?i)(\b(?:api[ _-]?key|key|token|credential|secret|authorization)s?\b(?:\s+(?:provided|is|was|of|sent|used))?"
    r"\s*[:=]?\s*[\"'`(]?)(?=[^\s\"'`,;)]*[\d*])([\w.*-]{16,})"
)
"""A long text with a digit behind a word for a key."""

_LONG = re.compile(rf"(?<![\w*-])[A-Za-z0-9_*-]{{{MIN_UNNAMED_LENGTH},}}")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ID = re.compile(
    r"(?i)(?:request|req|trace|correlation|session|task|log|response|resp|chatcmpl|cmpl|msg|message|gen|run|batch|call|toolu)"
    r"(?:[\s_-]*id)?[\s:=_#\"'(-]{0,4}$"
)
"""What stands before the id of a request or an answer."""
_ID_PREFIX = re.compile(r"(?i)(?:request|req|trace|resp|chatcmpl|cmpl|msg|gen|run|batch|call|toolu)[-_]")
_WORD = re.compile(r"[A-Za-z]*|\d{1,10}|[A-Za-z\d]{1,8}")
"""A part of a code or of a name of a model: letters alone, a number or a date, `32k`, `gpt4o`."""


def redact(text: str) -> str:
    """The text without keys and addresses."""
    text = _URL.sub("[address]", text)
    text = _PREFIXED.sub("[secret]", text)
    text = _NAMED.sub(r"\1[secret]", text)
    return _LONG.sub(_hide_random, text)


def _hide_random(match: re.Match[str]) -> str:
    token = match[0]
    is_id = _UUID.fullmatch(token) or _ID_PREFIX.match(token) or _ID.search(match.string, 0, match.start())
    is_words = all(_WORD.fullmatch(part) for part in re.split("[-_]", token))
    return token if "*" not in token and (is_id or is_words) else "[secret]"
