"""A key or word of the old spelling is refused, and the message names the new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from openfall.config.former_keys import REMEDIES, RENAMED, UNSUPPORTED
from tests.config.config_texts import check_text, with_valid_sections

KEYS = [(section, old, new) for section, names in RENAMED.items() for old, new in names.items()]


def file_with(section: str, key: str) -> str:
    """A file with this key of a section, `*` being an entry `a`."""
    inner = f"{key}: 1"
    if section == "backends.*.engine":
        return with_valid_sections(
            "backends", f"backends: {{a: {{url: 'http://127.0.0.1:1', pool: gpu, embedded: yes, engine: {{{inner}}}}}}}"
        )
    for word in reversed(section.replace("*", "a").split(".")):
        inner = f"{word}: {{{inner}}}"
    return with_valid_sections(section.split(".")[0], inner)


@pytest.mark.parametrize(("section", "old", "new"), KEYS)
def test_a_former_key_is_refused_with_its_new_name(tmp_path: Path, section: str, old: str, new: str) -> None:
    place = section.replace("*", "a")
    name = section.replace(".*", "")
    wanted = new if "." in new else f"{name}.{new}"
    line = f"openfall.yaml:1 {place}.{old}: {name}.{old} is now {wanted}. Write the new name."
    assert line in check_text(tmp_path, file_with(section, old))


@pytest.mark.parametrize(("section", "old", "new"), KEYS)
def test_the_new_name_is_known(tmp_path: Path, section: str, old: str, new: str) -> None:
    if "." in new:
        section, _, new = new.rpartition(".")
    assert not [
        line for line in check_text(tmp_path, file_with(section, new)) if "unknown key" in line or "is now" in line
    ]


@pytest.mark.parametrize(("old", "new"), REMEDIES.items())
def test_a_former_remedy_is_refused_with_its_new_name(tmp_path: Path, old: str, new: str) -> None:
    assert check_text(tmp_path, with_valid_sections("open_fall", f"open_fall: {{default: [{old}, hold]}}")) == [
        f'openfall.yaml:1 open_fall.default: unknown remedy "{old}". {old} is now {new}.'
    ]


UNSUPPORTED_KEYS = [(section, key, *words) for section, keys in UNSUPPORTED.items() for key, words in keys.items()]


@pytest.mark.parametrize(("section", "key", "message", "remedy"), UNSUPPORTED_KEYS)
def test_an_unsupported_key_is_refused_with_its_remedy(
    tmp_path: Path, section: str, key: str, message: str, remedy: str
) -> None:
    if section == "groups.*":
        text = with_valid_sections("groups", f"groups: [{{name: a, match: [b], {key}: 1}}]")
    else:
        text = file_with(section, key)
    line = f"openfall.yaml:1 {section.replace('*', 'a')}.{key}: {message}. {remedy}"
    assert line in check_text(tmp_path, text)


def test_a_former_word_for_clouds_is_refused_with_the_present_ones(tmp_path: Path) -> None:
    assert check_text(tmp_path, with_valid_sections("urgency", "urgency: {batch: {allow_cloud: if_late}}")) == [
        'openfall.yaml:1 urgency.batch.allow_cloud: must be yes, no or when_late, not "if_late".'
    ]
