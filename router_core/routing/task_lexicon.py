"""How a text is matched with the words of tasks. The words themselves are in the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
"""Scripts that put no spaces between words, or endings straight behind them: Thai, Lao, Burmese, Khmer, kana, Han,
Hangul."""

LETTER = f"[^\\W{_UNSPACED}]"
"""A letter of a script with spaces between words, as a regular expression."""
_BARE = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(f"{LETTER}+")
_SEPARATORS = {code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) == "_")}
_SENTENCE_END = re.compile(r"([.!?\n。！？])(?:(?<=[.!?])\s|(?<=[。！？])|(?<=\n)\s*\n)")
_PHRASE = re.compile(rf"{LETTER}+(?:[ \-';&/]+{LETTER}+)*")

_ENGLISH = re.compile(r"[a-z]{3,}")
_CLOSED = re.compile(r"[^aeiou][aeiou][^aeiouwxy]")
"""The end of a word that doubles its last letter: plan, planning."""
_CLITICS = {"is": ("is", "s"), "are": ("are", "re")}
"""`what's` is `what is`."""

_REQUEST = re.compile(
    r"\b(?:please|pls|bitte|(?:can|could|would|will) you|help me|give me|i need|i want|i would like|i'd like"
    r"|kannst du|können sie)\b|[?？]\s*$|^\W*(?:write|create|make|give|show|add|build|generate|turn|schreib|erstell)"
)
"""A sentence that asks for something, in English or German."""
_OPENERS = frozenset(("and", "now", "then", "also", "so", "ok", "okay", "hi", "hello", "hey", "just"))
"""Words that stand before the first word of a request."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word or phrase as it is configured, and the numbers of the task types that have it."""

    configured: str
    tasks: tuple[int, ...]


Phrase = tuple[tuple[frozenset[str], ...], Word]
"""What must follow the first token, and the word that is then there."""


Place = tuple[float, Word]
"""A word of a sentence, and the number of its first token."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """`phrases` by every form of their first token, the longest first. `literals` are words that are not made of plain
    tokens: words in scripts without spaces, and words such as C++; the longest first."""

    phrases: dict[str, tuple[Phrase, ...]]
    literals: tuple[tuple[re.Pattern[str], Word], ...]

    def words_in(self, text: str) -> list[Word]:
        """The words of a text, each once: those of sentences that ask for something first, then in their order.

        A word within a longer one does not count.
        """
        sentences = [(sentence, words) for sentence, words in self._sentences(fold(text)) if words]
        if len(sentences) > 1:
            sentences.sort(key=lambda sentence: not _asks(*sentence))
        return list(dict.fromkeys(word for _, words in sentences for _, word in words))

    def _sentences(self, text: str) -> Iterator[tuple[str, list[Place]]]:
        parts = _SENTENCE_END.split(text)
        for number in range(0, len(parts), 2):
            words = self._phrases_in(tokens_of(parts[number]))
            if self.literals and (literals := list(self._literals_in(parts[number]))):
                words = sorted([*words, *literals], key=lambda place: place[0])
            yield "".join(parts[number : number + 2]), words

    def _phrases_in(self, tokens: list[str]) -> list[Place]:
        places: list[Place] = []
        phrases, free_from = self.phrases, 0
        for number in [number for number, token in enumerate(tokens) if token in phrases]:
            if number < free_from:
                continue
            for rest, word in phrases[tokens[number]]:
                after = number + 1 + len(rest)
                following = tokens[number + 1 : after]
                if len(following) == len(rest) and all(map(frozenset.__contains__, rest, following)):
                    places.append((number, word))
                    free_from = after
                    break
        return places

    def _literals_in(self, text: str) -> Iterator[Place]:
        """Each with a place between the tokens before and after it."""
        for pattern, word in self.literals:
            if (match := pattern.search(text)) is not None:
                yield len(tokens_of(text[: match.start()])) - 0.5, word
                text = pattern.sub(lambda hit: "\0" * len(hit.group()), text)


def tokens_of(text: str) -> list[str]:
    """The words of a text. In ASCII alone this is quicker without a regular expression."""
    return text.translate(_SEPARATORS).split() if text.isascii() else _WORD.findall(text)


def _asks(sentence: str, words: Sequence[Place]) -> bool:
    """Whether a sentence asks for something: it has a polite word, is a question, or begins with a word of a task."""
    if _REQUEST.search(sentence):
        return True
    tokens = tokens_of(sentence)
    opening = next((number for number, token in enumerate(tokens) if token not in _OPENERS), 0)
    return words[0][0] <= opening


def fold(text: str) -> str:
    """Letters of one case and width."""
    return text.lower() if text.isascii() else normalize("NFKC", text).casefold()


def build_lexicon(tasks: Iterable[Iterable[str]]) -> Lexicon:
    """The lexicon of the words of some task types, in the order of the types."""
    places: dict[str, tuple[str, list[int]]] = {}
    for place, words in enumerate(tasks):
        for configured in words:
            if folded := " ".join(fold(configured).split()):
                of_word = places.setdefault(folded, (configured, []))[1]
                of_word += [] if place in of_word else [place]
    phrases: dict[str, list[Phrase]] = {}
    literals: list[tuple[re.Pattern[str], Word]] = []
    for folded in sorted(places, key=lambda folded: -len(folded)):
        configured, types = places[folded]
        word = Word(configured, tuple(types))
        if _PHRASE.fullmatch(folded):
            _add_phrase(phrases, tokens_of(folded), word)
        else:
            literals.append((_literal(folded), word))
    ordered = {form: tuple(sorted(of_form, key=lambda phrase: -len(phrase[0]))) for form, of_form in phrases.items()}
    return Lexicon(ordered, tuple(literals))


def _add_phrase(phrases: dict[str, list[Phrase]], tokens: Sequence[str], word: Word) -> None:
    """A word in all its forms; two words also written as one (web page, webpage)."""
    first, *rest = (frozenset(forms(token)) for token in tokens)
    for form in first:
        phrases.setdefault(form, []).append((tuple(rest), word))
    if len(tokens) == 2:
        for form in forms("".join(tokens)):
            phrases.setdefault(form, []).append(((), word))


def _literal(folded: str) -> re.Pattern[str]:
    """The word with a boundary on each side, unless its own script has none."""
    left = "" if _BARE.match(folded[0]) else f"(?<!{LETTER})"
    right = "" if _BARE.match(folded[-1]) else f"(?!{LETTER})"
    return re.compile(left + r"\s+".join(map(re.escape, folded.split())) + right)


@lru_cache(maxsize=4096)
def forms(token: str) -> tuple[str, ...]:
    """A word with its English inflections: plural, third person, -ed, -ing and -ly, in British and American spelling.

    Only the configured word gets inflections, the text of a prompt is never changed. So a word of another language
    does not become an English one: `erd` has the form `erds`, and `Erde` stays what it is.
    """
    if token in _CLITICS:
        return _CLITICS[token]
    if not _ENGLISH.fullmatch(token):
        return (token,)
    inflected = [token, *_inflections(token)]
    for american, british in (("iz", "is"), ("yz", "ys")):
        inflected += [form.replace(american, british) for form in inflected if american in form[2:]]
    return tuple(dict.fromkeys(inflected))


def _inflections(token: str) -> Iterator[str]:
    if token.endswith(("s", "x", "z", "ch", "sh")):
        yield token + "es"
    elif token.endswith("y") and token[-2] not in "aeiou":
        yield token[:-1] + "ies"
    else:
        yield token + "s"
    if len(token) < 4:  # too short to be sure that it is English
        return
    yield token + "ly"
    if token.endswith("e"):
        yield from (token + "d", token[:-1] + "ing")
    elif token.endswith("y") and token[-2] not in "aeiou":
        yield from (token[:-1] + "ied", token + "ing")
    else:
        yield from (token + "ed", token + "ing")
    if _CLOSED.fullmatch(token[-3:]):
        yield from (token + token[-1] + "ed", token + token[-1] + "ing")
