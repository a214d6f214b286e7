"""The part of a message that says what its writer wants, without the material that it is about.

Material is code, program output, quoted text and forwarded mail. It is recognized by its form, line by line, without a
parser. A wrong guess costs little: `classify` reads the material too, if the instruction has no word."""

from __future__ import annotations

import re

from openfall.router_core.routing.task_lexicon import LETTER

MAX_END_CHARS = 4000
"""Of a long message only its first and last characters are read: a request stands at the beginning or the end."""

_CUT = re.compile(f"{LETTER}*")
_MARKS = re.compile('[\n`"“„«「『]')
"""A text without any of these has no material."""
_FENCES = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_SPANS = re.compile(
    r'`[^`\n]+`|""".*?"""|\'\'\'.*?\'\'\'|"(?=[^"\n]*\s)(?:[^"\n]|\n(?!\s*\n))*"'
    r"|[“„](?:[^“”\n]|\n(?!\s*\n))*[“”]|«[^»]*»|「[^」]*」|『[^』]*』",
    re.DOTALL,
)
"""Code and quotes within a line. A single quoted word is left: its writer may only stress it."""
_MAIL = re.compile(
    r"^(?:from|von|subject|betreff|sent|gesendet|date|datum|to|an|cc):[ \t]\S.*\n"
    r"(?=(?:from|von|subject|betreff|sent|gesendet|date|datum|to|an|cc):|\s*\n)"
    r"|^-{3,} ?(?:original message|forwarded message|ursprüngliche nachricht)|^on .{5,80} wrote:$|^am .{5,80} schrieb",
    re.IGNORECASE | re.MULTILINE,
)
_CODE = re.compile(
    r"""\s*(?:
      //|/\*|\*/|\#!|@\w+\s*(?:\(|$)|\$\s\w|</?[a-zA-Z!][^>]*>              # comments, decorators, commands, tags
    | (?:async\s+)?(?:def|fn|func|sub)\s+\w+\s*[(<\[]                       # functions and types
    | (?:export\s+|default\s+|async\s+|public\s+|private\s+|protected\s+|static\s+)*function\s*\*?\s*\w*\s*\(
    | (?:export\s+|public\s+|abstract\s+|final\s+)*(?:class|interface|struct|enum|trait|impl)\s+\w+[^.?!]*[:{]\s*$
    | (?:public|private|protected|static)\s+\w
    | (?:const|let|var|val|auto|int|char|float|double|bool|string|void|final)\s+[\w*&]+\s*(?:[=;(:\[]|$)
    | (?:import|package|using|use|include|require)\s+[\w.{}*"'<>/:]+;?\s*$|from\s+[\w.]+\s+import\s|\#\s*include
    | (?:return|raise|throw|yield|await|print|echo|console\.log)\b.*[;)\]}'"\w]\s*$(?<![.?!])
    | (?:if|for|while|elif|else|try|except|catch|finally|switch|with)\b.*[(=<>!\[].*[:{]\s*$
    | (?:else|try|finally):?\s*$
    | [\w.\[\]"'*]+\s*(?:[-+*/|&]?=|:=)\s*\S                                # assignments, calls
    | [\w.]+\(.*\)\s*$
    | (?:SELECT|INSERT\s+INTO|UPDATE|DELETE\s+FROM|CREATE\s+TABLE|ALTER\s+TABLE)\s.*(?:;|\(|\*|,|FROM|SET)
    | Traceback\s\(|File\s".*",\sline\s\d|at\s\S+[(:].*|Caused\sby:|Exception\sin\sthread|panic:|goroutine\s\d
    | [\w.]*(?:Error|Exception|Warning)\b.{0,4}:\s|error(?:\[\w+\])?:\s|-->\s
    | \[?\d{4}-\d\d-\d\d[T\s]\d\d:\d\d|\[?(?:INFO|WARN|WARNING|ERROR|DEBUG|FATAL)\]?[\s:]
    | diff\s--git|@@\s|[-+]{3}\s\w
    | [}\])]+[;,)]*\s*$
    )|.*[;{}]\s*$""",
    re.VERBOSE,
)
"""A line that is code, or the output of a program."""
_BULLET = re.compile(r"\s*(?:[-*•+]|\d+[.)])\s")
_INSIDE_CODE = re.compile(r"\s+\S|#|[-+]\s*\S|\s*$")
"""A line that belongs to the code before it."""


def instruction(text: str) -> tuple[str, bool]:
    """The instruction of a message (empty: the message is material only), and whether it has code or program output."""
    parts = [_without_material(part) if _MARKS.search(part) else (part, False) for part in _ends(text)]
    return "\n\n".join(written for written, _ in parts), any(has_code for _, has_code in parts)


def read_ends(text: str) -> str:
    """The text, or both ends of a long text, without the words at the cut."""
    return "\n\n".join(_ends(text))


def _ends(text: str) -> tuple[str, ...]:
    if len(text) <= 2 * MAX_END_CHARS:
        return (text,)
    head, tail = _uncut(text[MAX_END_CHARS - 1 :: -1])[::-1], _uncut(text[-MAX_END_CHARS:])
    if text.count("```", 0, len(text) - len(tail)) % 2:  # the tail begins within a block of code
        tail = "```" + tail
    return head, tail


def _uncut(text: str) -> str:
    """The text without the rest of a cut word at its beginning."""
    return _CUT.sub("", text, count=1)


def _without_material(text: str) -> tuple[str, bool]:
    text, fences = _FENCES.subn("\n\n", text)
    text = _without_mail(_SPANS.sub(" ", text))
    written, lines = _written_lines(text) if "\n" in text else (text, 0)
    return written, bool(fences or lines)


def _without_mail(text: str) -> str:
    """The text before a mail, or the paragraph after it."""
    mail = _MAIL.search(text)
    if mail is None:
        return text
    before = text[: mail.start()]
    return before if before.strip() else text.rstrip().rpartition("\n\n")[2]


def _written_lines(text: str) -> tuple[str, int]:
    """The lines that are neither code nor quoted, an empty line instead of each other one; and how many are code."""
    written: list[str] = []
    inside, code = False, 0
    for line in text.split("\n"):
        quoted = line.lstrip().startswith(">")
        indented = line.startswith(("    ", "\t")) and not _BULLET.match(line)
        inside = not quoted and bool(_CODE.match(line) or indented or (inside and _INSIDE_CODE.match(line)))
        code += inside and bool(line.strip())
        written.append("" if inside or quoted else line)
    return "\n".join(written), code
