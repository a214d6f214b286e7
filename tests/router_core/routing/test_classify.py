from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.entries import TaskType
from openfall.router_core.routing.classify import MAX_END_CHARS, Classification, classify


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
    classification = classify(text, TASKS)
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


def test_the_longest_word_wins() -> None:
    assert classified("explain the class") == "reasoning"
    assert classified("explain the function") == "generation"


def test_a_word_within_a_longer_one_does_not_count() -> None:
    classification = classify("analyze code", TASKS)
    assert classification == Classification("review", 0.5, ("analyze code",))
    again = classify("analyze code, this code", TASKS)
    assert again
    assert again.words == ("analyze code", "Code")


def test_of_equally_long_words_the_type_with_more_of_them_wins() -> None:
    assert classified("deduce, review, Code") == "review"


def test_a_tie_goes_to_the_first_type() -> None:
    assert classified("infer or check") == "reasoning"
    assert classified("write") == "generation"  # the word of two types


def test_confidence_is_the_share_of_letters_times_the_weight_of_evidence() -> None:
    single, two = classify("a function", TASKS), classify("a function, a class", TASKS)
    assert (single, two) == (
        Classification("generation", 0.5, ("function",)),
        Classification("generation", 0.75, ("function", "class")),
    )
    torn = classify("a function; why", TASKS)
    assert torn
    assert torn.confidence == pytest.approx(8 / 11 * 0.5)


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
    assert classify("explain", {"other": task("explain")}) == Classification("other", 0.5, ("explain",))
    assert classify("explain", {"other": task("why")}) is None


def test_a_blank_word_is_never_found() -> None:
    assert classify("a b", {"odd": task(" ", "")}) is None


@given(st.lists(st.sampled_from(["function", "why", "関数", "x", "what is", "code", "analyze"]), max_size=12))
def test_confidence_is_between_0_and_1_and_its_words_are_the_types_own(words: list[str]) -> None:
    classification = classify(" ".join(words), TASKS)
    if classification is not None:
        assert 0 < classification.confidence < 1
        assert set(classification.words) <= set(TASKS[classification.task].words)
        assert len(set(classification.words)) == len(classification.words) > 0
