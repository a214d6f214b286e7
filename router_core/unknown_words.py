"""Words of a newer openfall that this one does not know: it carries and shows them."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

Word = TypeVar("Word", bound=StrEnum)


def carry_word(kind: type[Word], word: str) -> Word:
    """The member of a kind with this word. A word of a newer openfall becomes a member that no code names: it is shown,
    stored and compared as it is."""
    known = kind._value2member_map_.get(word)
    if known is not None:
        return kind(word)
    unknown = str.__new__(kind, word)
    unknown._name_, unknown._value_ = word.upper(), word
    vars(unknown)["__reduce_ex__"] = lambda protocol: (carry_word, (kind, word))  # Enum copies and pickles by the name
    return unknown
