from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.roles_and_tasks import TaskType
from openfall.router_core.routing.classify_by_words import Classification, classify
from openfall.router_core.routing.pasted_material import MAX_END_CHARS


def task(*words: str) -> TaskType:
    return TaskType(chain=("m",), words=words)


TASKS = {
    "generation": task("write", "create", "function", "class"),
    "review": task("review", "analyze code", "find bugs", "Code", "C++"),
    "reasoning": task("why", "explain", "deduce", "infer"),
    "simple": task("what is", "tell me", "check"),
    "silent": task(),
    "anime": task("関数", "関数型", "レビュー", "함수", "write"),
}


def classified(text: str) -> str | None:
    classification = classify([text], TASKS)
    return classification and classification.task


@pytest.mark.parametrize("text", ["", "  ", "nothing of this is known", "classification", "rewrite", "my_function"])
def test_without_a_whole_word_there_is_no_type(text: str) -> None:
    assert classified(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("EXPLAIN it", "reasoning"),
        ("(explain)", "reasoning"),
        ("What   is\nthis", "simple"),
        ("ｅｘｐｌａｉｎ", "reasoning"),  # full width
        ("c++, please", "review"),
        ("この関数を書いて", "anime"),
        ("コードレビューして", "anime"),
        ("이 함수를 고쳐", "anime"),
        ("explainして", "reasoning"),  # a word of one script ends where another script without spaces begins
    ],
)
def test_words_are_found_in_any_case_width_and_script(text: str, name: str) -> None:
    assert classified(text) == name


def test_the_first_word_counts_most() -> None:
    assert classified("explain the function of this class") == "reasoning"
    assert classified("a function and why it fails") == "generation"


def test_a_word_of_two_types_decides_only_with_others() -> None:
    tasks = {"code": task("write", "function"), "creative": task("write", "poem")}
    kinds = [
        classify([text], tasks) for text in ("write", "write a poem", "write a function", "poem: write a function")
    ]
    assert [kind and kind.task for kind in kinds] == ["code", "creative", "code", "creative"]


def test_words_of_a_sentence_that_asks_come_before_those_that_only_tell() -> None:
    statement = "This is a class that I made."
    for request in (
        "Could you explain it?",
        "Explain it.",
        "And now explain it",
        "I would be glad if you explain it, please",
    ):
        assert classified(f"{statement} {request}") == "reasoning"
    assert classified(f"{statement} It may explain a lot.") == "generation"
    assert classified(f"{statement} なぜ？関数？") == "anime"


@pytest.mark.parametrize(
    "text",
    [
        "classes",
        "writing",
        "wrote it, created it",
        "functions",
        "codings: analysing code",
        "finding bugs",
        "analyzed codes",
    ],
)
def test_english_words_are_found_in_their_other_forms(text: str) -> None:
    assert classified(text) in ("generation", "review")


def test_two_words_are_found_as_one_and_with_a_hyphen() -> None:
    tasks = {"html": task("web page"), "safe": task("thread-safe"), "short": task("tl;dr")}
    for text, name in (("webpages", "html"), ("web-page", "html"), ("thread safe", "safe"), ("TL;DR", "short")):
        match = classify([text], tasks)
        assert match, text
        assert match.task == name


def test_words_of_other_languages_are_not_taken_for_english_ones() -> None:
    assert classify(["Wie groß ist die Erde? Was ist in Erding?"], {"mermaid": task("erd")}) is None
    assert classify(["ein Kurzes, die Planen"], {"jira": task("plan"), "new": task("über")}) is None


def test_earlier_messages_are_read_until_one_has_a_word_of_a_single_type() -> None:
    match = classify(["thanks", "write it", "a function", "why"], TASKS)
    assert match
    assert (match.task, match.words) == ("generation", ("write", "function"))


def test_a_word_within_a_longer_one_does_not_count() -> None:
    classification = classify(["analyze code"], TASKS)
    assert classification == Classification("review", 0.5, ("analyze code",))
    again = classify(["analyze code, this code"], TASKS)
    assert again
    assert again.words == ("analyze code", "Code")


def test_a_tie_goes_to_the_first_type() -> None:
    assert classified("write") == "generation"  # the word of two types


def test_confidence_is_the_share_of_weight_times_the_weight_of_evidence() -> None:
    single, two = classify(["a function"], TASKS), classify(["a function, a class"], TASKS)
    assert (single, two) == (
        Classification("generation", 0.5, ("function",)),
        Classification("generation", 0.75, ("function", "class")),
    )
    torn = classify(["a function; why"], TASKS)
    assert torn
    assert torn.confidence == pytest.approx(2 / 3 * 0.5)


def test_both_ends_of_a_long_prompt_are_read_and_the_middle_is_not() -> None:
    filler = "lorem " * MAX_END_CHARS
    assert classified("explain this: " + filler) == "reasoning"
    assert classified(filler + "explain this") == "reasoning"
    assert classified(filler + "explain this " + filler) is None


@pytest.mark.parametrize("before", range(MAX_END_CHARS - 8, MAX_END_CHARS + 1))
def test_a_cut_makes_no_word_of_a_part_of_one(before: int) -> None:
    text = " " * before + "classroom" + " " * 3 * MAX_END_CHARS
    assert classified(text) is None
    assert classified(text[::-1].replace("moorssalc", "subclass")) is None


def test_a_long_text_without_spaces_is_read_up_to_the_cut() -> None:
    assert classified("あ" * (MAX_END_CHARS - 2) + "関数" + "あ" * 3 * MAX_END_CHARS) == "anime"


def test_a_changed_catalog_has_other_words() -> None:
    assert classify(["explain"], {"other": task("explain")}) == Classification("other", 0.5, ("explain",))
    assert classify(["explain"], {"other": task("why")}) is None


def test_a_blank_word_is_never_found() -> None:
    assert classify(["a b"], {"odd": task(" ", "")}) is None


@given(st.lists(st.sampled_from(["function", "why", "関数", "x", "what is", "code", "analyze"]), max_size=12))
def test_confidence_is_between_0_and_1_and_its_words_are_the_types_own(words: list[str]) -> None:
    classification = classify([" ".join(words)], TASKS)
    if classification is not None:
        assert 0 < classification.confidence < 1
        assert set(classification.words) <= set(TASKS[classification.task].words)
        assert len(set(classification.words)) == len(classification.words) > 0
