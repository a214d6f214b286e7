"""A key that people bring from another tool is refused, and the message names the key to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from openfall.config.former_keys import RENAMED
from openfall.config.other_tools_keys import OTHER_TOOLS
from tests.config.config_texts import check_text, with_valid_sections

IN_LISTS = ("groups", "budgets")


def problems(home: Path, section: str, keys: str) -> list[str]:
    """What a file with these keys in a section has of problems, `*` being an entry `a`."""
    top, _, rest = section.partition(".")
    if top in IN_LISTS:
        return check_text(home, with_valid_sections(top, f"{top}: [{{name: a, {keys}}}]"))
    inner = f"{{url: 'http://127.0.0.1:1', pool: gpu, embedded: yes, engine: {{{keys}}}}}" if "engine" in rest else keys
    for word in reversed(section.removesuffix(".engine").replace("*", "a").split(".") if section else ()):
        inner = f"{word}: {inner}" if inner.startswith("{") else f"{word}: {{{inner}}}"
    return check_text(home, with_valid_sections(top, inner) if section else f"{{{keys}}}")


@pytest.mark.parametrize("section", OTHER_TOOLS)
def test_a_key_of_another_tool_is_refused_with_the_key_to_write(tmp_path: Path, section: str) -> None:
    keys = OTHER_TOOLS[section]
    lines = problems(tmp_path, section, ", ".join(f"{word}: 1" for word in keys))
    for word, key in keys.items():
        assert any(f'unknown key "{word}". Did you mean "{key}"?' in line for line in lines), word


@pytest.mark.parametrize("section", OTHER_TOOLS)
def test_the_key_to_write_is_known(tmp_path: Path, section: str) -> None:
    for key in {*OTHER_TOOLS[section].values()}:
        place, _, name = key.replace("NAME", "a").rpartition(".")
        place = place.replace(".a", ".*") if place else section
        assert not [line for line in problems(tmp_path, place, f"{name}: 1") if "unknown key" in line], key


def test_no_word_of_another_tool_is_a_former_key() -> None:
    for section, words in OTHER_TOOLS.items():
        assert not words.keys() & RENAMED.get(section, {}).keys()


def test_case_and_hyphens_of_a_word_do_not_matter(tmp_path: Path) -> None:
    lines = problems(tmp_path, "gateway", "Allowed-Origins: 1")
    assert any('Did you mean "cors"?' in line for line in lines)


def test_a_key_that_another_word_stands_for_is_not_missing_too(tmp_path: Path) -> None:
    lines = check_text(tmp_path, with_valid_sections("models", "models: {a: {model_name: x, backend: b}}"))
    assert not [line for line in lines if "missing" in line or "needs" in line], lines
