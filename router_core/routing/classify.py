"""The task type of a prompt without one: found by the words that the catalog lists for each type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

from openfall.router_core.catalog.entries import TaskType

MAX_END_CHARS = 4000
"""Of a long prompt only its first and last characters are read: a request stands at the beginning or the end."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
"""Scripts that put no spaces between words, or endings straight behind them: Thai, Lao, Burmese, Khmer, kana, Han,
Hangul."""

_LETTER = f"[^\\W{_UNSPACED}]"
_BARE = re.compile(f"[{_UNSPACED}]")
_CUT = re.compile(f"{_LETTER}*")
_MATCHED = "\0"
"""Replaces a matched word, so that no shorter word matches inside it."""


@dataclass(frozen=True, slots=True)
class Classification:
    """`words` are the matched words of the type, as the catalog writes them, the longest first.

    `confidence` in 0..1 is share x (1 - 1 / 2^n): n is the number of matched words of the type, share is their letters
    divided by the letters of all matched words of any type. One word alone is never more than 0.5.
    """

    task: str
    confidence: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Word:
    """One word or phrase: as configured, as matched, and the indexes of its types."""

    configured: str
    folded: str
    pattern: re.Pattern[str]
    types: tuple[int, ...]


def classify(text: str, tasks: Mapping[str, TaskType]) -> Classification | None:
    """The type of a prompt; None: no word matches.

    A word matches as a whole word; in a script without spaces it matches anywhere. Case, width and the kind of white
    space do not matter. A word inside a longer match ("code" in "analyze code") does not count. The type with the
    longest matched word wins; among equals the type with most different words; then the first in the catalog.
    """
    names = tuple(tasks)
    lexicon = _lexicon(tuple(task.words for task in tasks.values()))
    matches = _matches(_folded(_ends(text)), lexicon)
    words: dict[int, list[_Word]] = {}
    for word in matches:
        for place in word.types:
            words.setdefault(place, []).append(word)
    if not words:
        return None
    best = max(words, key=lambda place: (len(words[place][0].folded), len(words[place]), -place))
    own_words = words[best]
    share = _letters(own_words) / sum(map(_letters, words.values()))
    return Classification(
        names[best], share * (1 - 0.5 ** len(own_words)), tuple(word.configured for word in own_words)
    )


def _letters(words: list[_Word]) -> int:
    return sum(len(word.folded) for word in words)


def _ends(text: str) -> str:
    """The text, or both ends of a long text, without the words at the cut."""
    if len(text) <= 2 * MAX_END_CHARS:
        return text
    head, tail = _uncut(text[MAX_END_CHARS - 1 :: -1])[::-1], _uncut(text[-MAX_END_CHARS:])
    return f"{head}\n{tail}"


def _uncut(text: str) -> str:
    """The text without the rest of a cut word at its beginning."""
    return _CUT.sub("", text, count=1)


def _folded(text: str) -> str:
    """Letters of one case and width, single spaces between words."""
    return " ".join(normalize("NFKC", text).casefold().split())


@lru_cache(maxsize=16)
def _lexicon(tasks: tuple[tuple[str, ...], ...]) -> tuple[_Word, ...]:
    """All words of all types, the longest first. Cached by the words, so a changed catalog gets a new lexicon."""
    types: dict[str, tuple[str, list[int]]] = {}
    for place, words in enumerate(tasks):
        for word in words:
            if folded := _folded(word):
                places = types.setdefault(folded, (word, []))[1]
                places += [] if place in places else [place]
    ordered = sorted(types, key=lambda folded: -len(folded))
    return tuple(_Word(types[folded][0], folded, _pattern(folded), tuple(types[folded][1])) for folded in ordered)


def _pattern(folded: str) -> re.Pattern[str]:
    """The word with a boundary on each side, unless its own script has none."""
    word = re.escape(folded)
    # The left boundary follows the word, so that the engine searches for the word first.
    left = "" if _BARE.match(folded[0]) else f"(?<!{_LETTER}{word})"
    right = "" if _BARE.match(folded[-1]) else f"(?!{_LETTER})"
    return re.compile(f"{word}{left}{right}")


def _matches(text: str, lexicon: tuple[_Word, ...]) -> Iterator[_Word]:
    """The words of a text outside longer matches, the longest first."""
    for word in lexicon:
        if word.folded in text:
            text, times = word.pattern.subn(_MATCHED, text)
            if times:
                yield word
