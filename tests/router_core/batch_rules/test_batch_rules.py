"""The rules of a batch: its lines, the rows of its journal, its window and its last status."""

from __future__ import annotations

import pytest

from openfall.router_core.batch_rules.batch_line_format import LineProblem, ParsedLine, parse_batch_line
from openfall.router_core.batch_rules.batch_status import BatchStatus, final_status
from openfall.router_core.batch_rules.completion_window import window_seconds
from openfall.router_core.batch_rules.journal_row_format import JournalRow, LineEnd, read_journal_row
from openfall.router_core.batch_rules.line_job_ids import index_of, job_id_of
from openfall.router_core.batch_rules.line_tokens import MAX_TOKENS, LineTokens, line_tokens

URLS = ("/v1/chat/completions", "/chat/completions")


@pytest.mark.parametrize(
    ("row", "code", "param"),
    [
        pytest.param(b"{", "invalid_json_line", None, id="indented JSON"),
        pytest.param(b"[{}]", "invalid_json_line", None, id="an array"),
        pytest.param(b'{"custom_id": "1"},', "invalid_json_line", None, id="a comma at the end"),
        pytest.param(b"hello", "invalid_json_line", None, id="no JSON"),
        pytest.param(b"{}", "missing_required_parameter", "custom_id", id="no custom_id"),
        pytest.param(b'{"custom_id": 1}', "invalid_value", "custom_id", id="a number for a custom_id"),
        pytest.param(b'{"custom_id": []}', "invalid_value", "custom_id", id="a list for a custom_id"),
        pytest.param(b'{"custom_id": ""}', "invalid_value", "custom_id", id="an empty custom_id"),
        pytest.param(b'{"custom_id": "1", "method": "GET"}', "invalid_value", "method", id="another method"),
        pytest.param(b'{"custom_id": "1", "url": "/v1/embeddings"}', "url_mismatch", "url", id="another endpoint"),
        pytest.param(b'{"custom_id": "1", "method": 7}', "invalid_value", "method", id="a number for a method"),
        pytest.param(b'{"custom_id": "1", "url": 7}', "url_mismatch", "url", id="a number for a url"),
        pytest.param(b'{"custom_id": "1", "url": "http://[/v1"}', "url_mismatch", "url", id="a url that is none"),
        pytest.param(b'{"custom_id": "1", "body": []}', "missing_required_parameter", "body", id="no body"),
    ],
)
def test_a_wrong_line_has_a_code_and_the_field_that_is_wrong(row: bytes, code: str, param: str | None) -> None:
    problem = parse_batch_line(row, URLS)
    assert isinstance(problem, LineProblem)
    assert (problem.code, problem.param) == (code, param)


def test_a_line_without_method_and_url_is_one_of_the_endpoint_of_its_batch() -> None:
    line = parse_batch_line(b'{"custom_id": "1", "body": {"model": "chat"}}', URLS)
    assert isinstance(line, ParsedLine)
    assert (line.custom_id, line.body) == ("1", {"model": "chat"})


@pytest.mark.parametrize(
    "url", ["/v1/chat/completions/", "https://api.openai.com/v1/chat/completions", "http://h:1/v1/chat/completions?x=1"]
)
@pytest.mark.parametrize("method", ["POST", "post"])
def test_a_line_may_write_its_endpoint_as_programs_do(url: str, method: str) -> None:
    row = f'{{"custom_id": "1", "method": "{method}", "url": "{url}", "body": {{"model": "chat"}}}}'
    assert isinstance(parse_batch_line(row.encode(), URLS), ParsedLine)


@pytest.mark.parametrize("url", ["/chat/completions", "chat/completions", "/v1/embeddings"])
def test_the_version_of_a_url_may_be_left_out_and_nothing_else(url: str) -> None:
    line = parse_batch_line(f'{{"custom_id": "1", "url": "{url}", "body": {{}}}}'.encode(), URLS[:1])
    assert isinstance(line, ParsedLine) == (url == "/chat/completions")


ONE = '{"custom_id": "1", "body": {"x": "y"}}'


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"\x1f\x8b\x08\x00x", "it is compressed by gzip, unpack it first"),
        (b"PK\x03\x04x", "it is a ZIP archive, or a workbook of Excel: save it as text"),
        (b"PAR1x", "it is a Parquet file: write each row as one line of JSON"),
        (b"%PDF-1.7", "it is a PDF: write each request as one line of JSON"),
        (ONE.encode("utf-16"), "it is UTF-16, save it as UTF-8"),
        (ONE.encode("utf-16-le"), "it is UTF-16, save it as UTF-8"),
        (ONE.encode("utf-16-be"), "it is UTF-16, save it as UTF-8"),
        (ONE.replace('"', "'").encode(), "The line has single quotes: write it with json.dumps"),
        (ONE.replace('"', "\u201c").encode(), "Its quotes are typographic, as a word processor writes them"),
        (ONE.replace('"y', '"\u00e9').encode("latin-1"), "not UTF-8 text: byte 35 is 0xe9. Save the file as UTF-8"),
        (f"{ONE}{ONE}".encode(), "The line seems to have several requests: write each as one line"),
        (f"{ONE}\r{ONE}\r".encode(), "The line seems to have several requests: write each as one line"),
        (f"{ONE} {ONE}".encode(), "The line seems to have several requests: write each as one line"),
        (('"' + ONE.replace('"', '""') + '"').encode(), "The line is in quotes: write the object itself"),
    ],
)
def test_a_file_of_another_kind_is_named_with_its_remedy(row: bytes, words: str) -> None:
    problem = parse_batch_line(row, URLS)
    assert isinstance(problem, LineProblem)
    assert (problem.code, words in problem.message) == ("invalid_json_line", True), problem.message


def test_half_a_character_in_a_line_is_replaced() -> None:
    line = parse_batch_line(rb'{"custom_id": "1", "body": {"x": "a\ud83d"}}', URLS)
    assert isinstance(line, ParsedLine)
    assert line.body == {"x": "a\ufffd"}


def test_a_row_of_the_journal_is_read_as_it_was_written() -> None:
    for tokens in (None, LineTokens(41, 40, 5, 3)):
        row = JournalRow(7, LineEnd.SUCCEEDED, b'{"custom_id":"x"}', tokens)
        assert read_journal_row(row.packed(), 8) == row


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(b'7 s - {"a":1}', id="without its line end"),
        pytest.param(b'7 s - {"a":\n', id="cut within"),
        pytest.param(b'7 s - {"a":"\0\0"}\n', id="blocks that a power cut left empty"),
        pytest.param(b'8 s - {"a":1}\n', id="of a line that the batch does not have"),
        pytest.param(b'7 q - {"a":1}\n', id="with an unknown end"),
        pytest.param(b'7 s 41,5 {"a":1}\n', id="with half of its tokens"),
    ],
)
def test_a_row_that_is_not_whole_is_none(row: bytes) -> None:
    assert read_journal_row(row, 8) is None


def test_the_job_of_a_line_is_always_the_same_and_names_its_line() -> None:
    batch = "batch_0123456789abcdef"
    assert job_id_of(batch, 399_999) == "0123456789abcdef-399999"
    assert index_of(batch, job_id_of(batch, 399_999), 400_000) == 399_999
    assert len(job_id_of(batch, 9_999_999)) <= 24, "above it rq's record of a job takes twice the memory"


@pytest.mark.parametrize("job_id", ["0123456789abcdef-8", "fedcba9876543210-1", "another"])
def test_a_job_of_no_line_of_the_batch_has_no_line(job_id: str) -> None:
    assert index_of("batch_0123456789abcdef", job_id, 8) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86400),
        ("1h", 3600),
        ("7d", 604800),
        ("168h", 604800),
        ("8d", None),
        ("0h", None),
        ("90m", None),
        ("", None),
    ],
)
def test_a_completion_window_is_one_hour_to_seven_days(text: str, seconds: int | None) -> None:
    assert window_seconds(text) == seconds


@pytest.mark.parametrize(
    ("ends", "is_cancelled", "status"),
    [
        ({LineEnd.SUCCEEDED: 1, LineEnd.ERRORED: 1}, False, BatchStatus.COMPLETED),
        ({LineEnd.SUCCEEDED: 1, LineEnd.EXPIRED: 1}, False, BatchStatus.EXPIRED),
        ({LineEnd.SUCCEEDED: 2}, True, BatchStatus.CANCELLED),
    ],
)
def test_the_last_status_says_how_the_lines_ended(ends: dict[LineEnd, int], is_cancelled: bool, status: str) -> None:
    assert final_status(ends, is_cancelled=is_cancelled) is status


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        pytest.param({"prompt_tokens": 41, "completion_tokens": 5}, LineTokens(41, 0, 5, 0), id="a chat completion"),
        pytest.param({"prompt_tokens": 41, "prompt_tokens_details": None}, LineTokens(41, 0, 0, 0), id="embeddings"),
        pytest.param(
            {
                "input_tokens": 41,
                "input_tokens_details": {"cached_tokens": 40},
                "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 3},
            },
            LineTokens(41, 40, 5, 3),
            id="a Response",
        ),
        pytest.param(
            {"input_tokens": "many", "output_tokens": 10**300}, LineTokens(0, 0, MAX_TOKENS, 0), id="nonsense"
        ),
        pytest.param(None, None, id="none"),
    ],
)
def test_the_tokens_of_a_line_are_those_that_its_answer_reports(usage: object, tokens: LineTokens | None) -> None:
    assert line_tokens({"usage": usage}) == tokens


def test_the_tokens_of_a_batch_are_the_sum_in_the_form_of_openai() -> None:
    assert LineTokens(41, 40, 5, 3).plus(LineTokens(1, 0, 1, 0)).as_usage() == {
        "input_tokens": 42,
        "input_tokens_details": {"cached_tokens": 40},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 48,
    }


@pytest.mark.parametrize(
    ("row", "is_helped"),
    [(b"1,hello", True), (b"Hello there", True), ("\N{BYTE ORDER MARK}id;prompt".encode(), True), (b"", True),
     (b' {"custom_id": "1"', False), (b"[1,", False)],
)  # fmt: skip
def test_a_line_of_a_table_or_of_prose_is_distinguished_from_broken_json(row: bytes, is_helped: bool) -> None:
    problem = parse_batch_line(row, ("/v1/chat/completions",))
    assert isinstance(problem, LineProblem)
    assert ('Each line is an object: {"custom_id": "1", "body"' in problem.message) == is_helped
