"""Commands for a person to type, with names that may come from anywhere: from Redis, a producer, a file."""

from __future__ import annotations

import re
import shlex

from openfall.router_core.printable import escape_controls


def shell_command(command: str, *names: str) -> str:
    """A command with names behind it, each one word of a shell. No name is an option: `--` stands before them if one
    begins with `-`."""
    dashes = ["--"] if any(name.startswith("-") for name in names) else []
    return " ".join([command, *dashes, *map(shell_word, names)])


def shell_word(text: str) -> str:
    r"""One word of a shell: `tower`, `'a b'`, and with characters that a terminal obeys or does not show `$'a\x1bb'`,
    which bash, zsh and ksh read."""
    if escape_controls(text) == text and not re.search(r"[\t\n]", text):
        return shlex.quote(text)
    return "$'" + "".join(map(_typed, text)) + "'"


def _typed(letter: str) -> str:
    """A character as it is typed between `$'` and `'`."""
    if letter in "\\'":
        return f"\\{letter}"
    if escape_controls(letter) == letter and letter not in "\t\n":
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
