"""The task type of a prompt when nobody named one: told by the words that the catalog gives each type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

from openfall.router_core.catalog.entries import TaskType

EDGE = 4000
"""Of a long prompt the first and the last so many characters are looked at: what is asked stands at its ends."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
"""Scripts that put no spaces between words, or endings straight behind them: Thai, Lao, Burmese, Khmer, kana, Han,
Hangul."""

_LETTER = f"[^\\W{_UNSPACED}]"
_BARE = re.compile(f"[{_UNSPACED}]")
_CUT = re.compile(f"{_LETTER}*")
_TAKEN = "\0"
"""Stands for a word that was found, so that no shorter one is found in it."""


@dataclass(frozen=True, slots=True)
class Classification:
    """`words` are those of the type that were found, as the catalog writes them, the longest first.

    `confidence` in 0..1 is share x (1 - 1 / 2^n): n is the number of the type's words that were found, share their
    letters over the letters of all words found, of whatever type. One word alone is never more than 0.5.
    """

    task: str
    confidence: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Word:
    """One word or phrase: as it is configured, as it is looked for, and the types (by place) that it speaks for."""

    told: str
    folded: str
    pattern: re.Pattern[str]
    types: tuple[int, ...]


def classify(text: str, tasks: Mapping[str, TaskType]) -> Classification | None:
    """The type of a prompt; None when none of the words stands in it.

    A word counts where it stands whole; in a script without spaces anywhere. Case, width and the kind of white space do
    not matter. Within a longer word that counts ("code" in "analyze code") a word does not. The type with the longest
    word found wins; among equals the one with most different words; then the one that stands first in the catalog.
    """
    names = tuple(tasks)
    lexicon = _lexicon(tuple(task.words for task in tasks.values()))
    found = _found(_folded(_ends(text)), lexicon)
    words: dict[int, list[_Word]] = {}
    for word in found:
        for place in word.types:
            words.setdefault(place, []).append(word)
    if not words:
        return None
    best = max(words, key=lambda place: (len(words[place][0].folded), len(words[place]), -place))
    told = words[best]
    share = _letters(told) / sum(map(_letters, words.values()))
    return Classification(names[best], share * (1 - 0.5 ** len(told)), tuple(word.told for word in told))


def _letters(words: list[_Word]) -> int:
    return sum(len(word.folded) for word in words)


def _ends(text: str) -> str:
    """The text, or both ends of a long one, without the words that the cut went through."""
    if len(text) <= 2 * EDGE:
        return text
    head, tail = _uncut(text[EDGE - 1 :: -1])[::-1], _uncut(text[-EDGE:])
    return f"{head}\n{tail}"


def _uncut(text: str) -> str:
    """The text without the letters at its beginning that a cut has left of a word."""
    return _CUT.sub("", text, count=1)


def _folded(text: str) -> str:
    """Letters of one case and width, single spaces between words."""
    return " ".join(normalize("NFKC", text).casefold().split())


@lru_cache(maxsize=16)
def _lexicon(tasks: tuple[tuple[str, ...], ...]) -> tuple[_Word, ...]:
    """All words of all types, the longest first. Kept by its words alone, so a changed catalog gets another."""
    types: dict[str, tuple[str, list[int]]] = {}
    for place, words in enumerate(tasks):
        for told in words:
            if folded := _folded(told):
                places = types.setdefault(folded, (told, []))[1]
                places += [] if place in places else [place]
    ordered = sorted(types, key=lambda folded: -len(folded))
    return tuple(_Word(types[folded][0], folded, _pattern(folded), tuple(types[folded][1])) for folded in ordered)


def _pattern(folded: str) -> re.Pattern[str]:
    """The word with an edge on each side, but where its own script has none."""
    word = re.escape(folded)
    left = "" if _BARE.match(folded[0]) else f"(?<!{_LETTER}{word})"  # behind the word, so that it is looked for first
    right = "" if _BARE.match(folded[-1]) else f"(?!{_LETTER})"
    return re.compile(f"{word}{left}{right}")


def _found(text: str, lexicon: tuple[_Word, ...]) -> Iterator[_Word]:
    """The words that stand in a text outside of longer ones, the longest first."""
    for word in lexicon:
        if word.folded in text:
            text, times = word.pattern.subn(_TAKEN, text)
            if times:
                yield word
