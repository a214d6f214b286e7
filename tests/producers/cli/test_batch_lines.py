"""The lines of a batch file as people have them: numbers as ids, edited prompts, other layouts, other encodings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.local_batches.batch_plan import BatchTally
from openfall.router_core.vocabulary import ErrorClass
from tests.producers.cli.batch_files import line, read_rows
from tests.producers.cli.conftest import Run

RUN = ("batch", "run", "in.jsonl", "-o", "out.jsonl")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., None]:
    def write_lines(*lines: str) -> None:
        (tmp_path / "in.jsonl").write_text("".join(f"{text}\n" for text in lines))

    return write_lines


def with_id(custom_id: Any, prompt: str = "x") -> str:
    return json.dumps({**json.loads(line("", prompt)), "custom_id": custom_id})


def answers(out: Path) -> dict[str, str]:
    rows = read_rows(out)
    assert len({row["custom_id"] for row in rows}) == len(rows)
    return {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in rows}


def test_a_custom_id_that_is_a_whole_number_is_refused_with_its_spelling(
    openfall: Run, answering: Any, write: Any, out: Path
) -> None:
    write(with_id("140", "a"), with_id(140, "b"), with_id(12345678901234567890123, "c"))
    ran = openfall(*RUN)
    assert ran.returncode == 5
    assert answers(out) == {"140": "echo a"}
    assert 'line 2: custom_id must be text: write "140", not 140' in ran.stderr
    assert 'line 3: custom_id must be text: write "12345678901234567890123", not' in ran.stderr


@pytest.mark.parametrize(
    ("custom_id", "words"),
    [
        (None, "custom_id is missing"), ("", "custom_id has 0 characters: it must have 1 to 512"),
        ("x" * 513, "custom_id has 513 characters"), (1.5, "custom_id must be text, not 1.5"),
        (True, "custom_id must be text, not true"), (["a"], 'custom_id must be text, not ["a"]'),
        ({"a": 1}, 'custom_id must be text, not {"a":1}'),
    ],
)  # fmt: skip
def test_another_custom_id_is_refused_with_its_reason(openfall: Run, write: Any, custom_id: Any, words: str) -> None:
    write(with_id(custom_id))
    ran = openfall(*RUN)
    assert ran.returncode == 5
    assert f"line 1: {words}" in ran.stderr


def test_an_edited_prompt_under_an_answered_custom_id_is_named_and_its_answer_is_kept(
    openfall: Run, answering: Any, write: Any, out: Path
) -> None:
    write(line("a", "old"), line("b", "same"))
    openfall(*RUN)
    write(line("a", "new"), line("b", "same"))
    ran = openfall(*RUN, "--json")
    assert ran.returncode == 5
    assert "line 1: custom_id 'a' was answered before with another prompt; that answer is kept" in ran.stderr
    assert json.loads(ran.stdout)["edited"] == [{"line": 1, "custom_id": "a"}]
    assert answers(out) == {"a": "echo old", "b": "echo same"}
    assert "line 1: custom_id 'a' was answered before" in openfall(*RUN, "--dry-run").stderr
    assert len(answering.jobs) == 2


def test_an_edited_prompt_is_answered_with_retry_edited_and_only_that(
    openfall: Run, answering: Any, write: Any, out: Path
) -> None:
    write(line("a", "old"), line("b", "same"), line("c", "fail: timeout"))
    openfall(*RUN)
    write(line("a", "new"), line("b", "same"), line("c", "fail: timeout"))
    ran = openfall(*RUN, "--retry-edited")
    assert "2 of 3 answered (1 of them earlier), 1 failed" in ran.stderr
    rows = {row["custom_id"]: row for row in read_rows(out)}
    assert len(read_rows(out)) == 3
    assert rows["a"]["response"]["body"]["choices"][0]["message"]["content"] == "echo new"
    assert len(answering.jobs) == 4
    assert "another prompt" not in openfall(*RUN).stderr


def test_a_prompt_that_is_only_written_in_another_order_or_with_another_urgency_is_not_edited(
    openfall: Run, answering: Any, write: Any
) -> None:
    write(line("a", "x"))
    openfall(*RUN)
    request = json.loads(line("a", "x", urgency="background"))
    request["body"] = dict(reversed(request["body"].items()))
    write(json.dumps(dict(reversed(request.items()))))
    ran = openfall(*RUN)
    assert (ran.returncode, "another prompt" in ran.stderr) == (0, False)


def test_an_edited_prompt_of_a_retried_line_is_noticed_too(
    openfall: Run, worker_for: Any, write: Any, out: Path
) -> None:
    write(line("a", "old"))
    with worker_for(reply=lambda job: ErrorClass.TIMEOUT):
        openfall(*RUN)
    with worker_for():
        openfall(*RUN, "--retry-failed")
        assert openfall(*RUN).returncode == 0
        write(line("a", "new"))
        assert "was answered before with another prompt" in openfall(*RUN).stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"[{line('a', 'x')},\n{line('b', 'y')}]\n", "line 1: not JSON"),
        (f"[{line('a', 'x')}]\n", "line 1: must be an object {custom_id, method, url, body}. The file is a JSON array"),
        (f"{line('a', 'x')},\n", "The line ends in a comma: write each request as one line"),
        ("{\n  \"custom_id\": \"a\"\n}\n", "The JSON is indented: write each request as one line"),
    ],
)  # fmt: skip
def test_a_file_in_another_layout_is_refused_with_what_is_wrong(
    openfall: Run, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "in.jsonl").write_text(text)
    ran = openfall(*RUN)
    assert ran.returncode == 5
    assert words in ran.stderr


def test_line_ends_of_windows_blank_lines_and_a_byte_order_mark_are_read(
    openfall: Run, answering: Any, tmp_path: Path, out: Path
) -> None:
    text = f"\ufeff{line('a', 'x')}\r\n\r\n  \r\n{line('b', 'y')}\r\n{line('c', 'z')}"
    (tmp_path / "in.jsonl").write_bytes(text.encode())
    assert openfall(*RUN).returncode == 0
    assert answers(out) == {"a": "echo x", "b": "echo y", "c": "echo z"}


def test_files_that_were_joined_have_a_byte_order_mark_in_later_lines_too(
    openfall: Run, answering: Any, tmp_path: Path, out: Path
) -> None:
    text = "".join(f"\ufeff{line(name, name)}\n" for name in "ab")
    (tmp_path / "in.jsonl").write_bytes(text.encode())
    assert openfall(*RUN).returncode == 0
    assert answers(out) == {"a": "echo a", "b": "echo b"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_file_in_utf_16_is_refused_with_its_encoding(openfall: Run, tmp_path: Path, encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / "in.jsonl").write_bytes(f"{mark}{line('a', 'x')}\n".encode(encoding))
    ran = openfall(*RUN)
    assert ran.returncode == 2
    assert "is not UTF-8 text (line 1): it is UTF-16, save it as UTF-8" in ran.stderr


def test_a_line_that_is_not_utf_8_is_named_and_the_others_run(
    openfall: Run, answering: Any, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "in.jsonl").write_bytes(
        f"{line('a', 'x')}\n".encode() + f"{line('b', 'fête')}\n".replace("\\u00ea", "ê").encode("latin-1")
    )
    ran = openfall(*RUN)
    assert ran.returncode == 5
    assert "line 2: not UTF-8 text: byte " in ran.stderr
    assert answers(out) == {"a": "echo x"}


def test_an_output_in_a_missing_directory_names_the_directory(openfall: Run, write: Any) -> None:
    write(line("a", "x"))
    ran = openfall("batch", "run", "in.jsonl", "-o", "no/where.jsonl")
    assert ran.returncode == 2
    assert "Make the directory no, or name another file with -o." in ran.stderr


@pytest.mark.parametrize(
    ("tally", "text"),
    [
        (BatchTally(total=40, answered=40), "40 of 40 answered, 0 failed"),
        (BatchTally(total=10_000, answered=85, failed=9_915), "85 of 10,000 answered, 9,915 failed"),
        (BatchTally(total=10_000, answered_before=8_000, answered=2_000),
         "10,000 of 10,000 answered (8,000 of them earlier), 0 failed"),
    ],
)  # fmt: skip
def test_large_numbers_of_lines_are_written_alike(tally: BatchTally, text: str) -> None:
    assert tally.outcome == text
