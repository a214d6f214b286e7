"""Words of a newer version are kept as they are."""

from __future__ import annotations

import copy
import pickle

from openfall.router_core.unknown_words import carry_word
from openfall.router_core.vocabulary import HoldReason


def test_a_known_word_is_its_member() -> None:
    assert carry_word(HoldReason, "outage") is HoldReason.OUTAGE


def test_an_unknown_word_is_carried_and_is_none_of_the_members() -> None:
    word = carry_word(HoldReason, "moonlight")
    assert isinstance(word, HoldReason)
    assert (str(word), word.value, word.name) == ("moonlight", "moonlight", "MOONLIGHT")
    assert word not in tuple(HoldReason)
    assert "moonlight" not in {reason.value for reason in HoldReason}, "the vocabulary is as before"


def test_an_unknown_word_can_be_copied_and_pickled() -> None:
    word = carry_word(HoldReason, "moonlight")
    assert copy.deepcopy(word) == copy.copy(word) == pickle.loads(pickle.dumps(word)) == word
