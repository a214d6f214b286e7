"""The task type of a prompt without one: found by the words that the catalog lists for each type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from openfall.router_core.catalog.model_index import MAX_CATALOGS, ByIdentity
from openfall.router_core.catalog.roles_and_tasks import TaskType
from openfall.router_core.routing.pasted_material import instruction, read_ends
from openfall.router_core.routing.task_lexicon import Lexicon, Word, build_lexicon

CODE = "code"
"""A message with code or program output has this word too, after all others."""
MAX_MESSAGES = 20
"""How many messages of a conversation are read at most."""


@dataclass(frozen=True, slots=True)
class Classification:
    """`words` are the matched words of the type, as the catalog writes them, the weightiest first.

    `confidence` in 0..1 is share x (1 - 1 / 2^n): n is the number of matched words of the type, share is their weight
    divided by the weight of all matched words. One word alone is never more than 0.5.
    """

    task: str
    confidence: float
    words: tuple[str, ...]


def classify(messages: Iterable[str], tasks: Mapping[str, TaskType]) -> Classification | None:
    """The type of a conversation by the messages of its user, the last message first. None: no word matches.

    The words of the instructions count; those of code and quotations only if no instruction has a word. Earlier
    messages are read until one has a word of a single type. Each word weighs half as much as the one before it, and a
    word of several types is divided among them. The type with the most weight wins; among equals the type whose word
    comes first, then the first in the catalog.
    """
    lexicon = _lexicon(ByIdentity(tasks))
    words: dict[Word, None] = {}
    last = None
    for message in messages:
        last = message if last is None else last
        written, has_code = instruction(message)
        words.update(dict.fromkeys(lexicon.words_in(written) + (lexicon.words_in(CODE) if has_code else [])))
        if any(len(word.tasks) == 1 for word in words):
            break
    if not words and last is not None:
        words = dict.fromkeys(lexicon.words_in(read_ends(last)))
    return _weigh(tuple(words), tuple(tasks)) if words else None


def _weigh(words: tuple[Word, ...], names: tuple[str, ...]) -> Classification:
    weights: dict[int, float] = {}  # in the order of the first words: `max` keeps the first of equals
    for number, word in enumerate(words):
        for place in word.tasks:
            weights[place] = weights.get(place, 0.0) + 0.5**number / len(word.tasks)
    best = max(weights, key=lambda place: round(weights[place], 9))
    of_best = tuple(word.configured for word in words if best in word.tasks)
    share = weights[best] / sum(weights.values())
    return Classification(names[best], share * (1 - 0.5 ** len(of_best)), of_best)


@lru_cache(maxsize=MAX_CATALOGS)
def _lexicon(key: ByIdentity[Mapping[str, TaskType]]) -> Lexicon:
    return build_lexicon(task.words for task in key.value.values())
