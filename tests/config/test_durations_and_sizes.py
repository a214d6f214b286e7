"""Rates, yes-or-no words, and names that a variable adds to a list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from openfall import config
from openfall.config.durations_and_sizes import (
    format_rate,
    parse_duration,
    parse_number,
    parse_rate,
    parse_size,
    parse_tokens,
)
from openfall.config.scalars import rate
from openfall.config.yaml_document import Document, Node
from tests.config.config_texts import load_text


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("1 per 10m", (1, 600.0)),
        ("5 per h", (5, 3600.0)),
        ("20 per s", (20, 1.0)),
        ("3 per 1.5h", (3, 5400.0)),
        ("100 per 30", (100, 30.0)),
        ("2 per 7d", (2, 604_800.0)),
    ],
)
def test_a_rate_is_a_number_of_events_and_seconds(word: str, meaning: tuple[int, float]) -> None:
    assert parse_rate(word) == meaning
    assert parse_rate(format_rate(meaning)) == meaning


@pytest.mark.parametrize(
    "word",
    ["", "often", "1", "1 per", "1 per week", "0 per 1m", "1 per 0s", "-1 per 1m", "1.5 per 1m", "1/10m", "1 per "],
)
def test_text_that_is_not_a_rate_is_refused(word: str) -> None:
    assert parse_rate(word) is None


def test_a_rate_that_cannot_be_read_is_reported() -> None:
    page = Document(Path("openfall.yaml"), {"MANY": "2 per 1m"})
    read = [rate.read(Node(page, "a", 1, yaml.compose(word))) for word in ("1 per 10m", '"${MANY}"', "often")]
    assert read == [(1, 600.0), (2, 60.0), None]
    assert [str(problem) for problem in page.problems] == [
        'openfall.yaml:1 a: must be a rate such as 1 per 10m, not "often".'
    ]
    assert rate.write((1, 600.0)) == "1 per 10m"


@pytest.mark.parametrize(
    ("chain", "first", "means"),
    [
        ('["${FIRST:-a}", b]', "", ("a", "b")),
        ('["${FIRST:-a}", b]', "b", ("b",)),
        ('[a, "${LAST:-b}"]', "", ("a", "b")),
        ('["${FIRST:-a}", "${FIRST:-a}", b]', "b", ("b",)),
    ],
)
def test_a_model_that_a_variable_names_is_once_in_a_chain(
    tmp_path: Path, chain: str, first: str, means: tuple[str, ...]
) -> None:
    configuration = load_text(
        tmp_path,
        "backends: {t: {url: 'http://a', pool: gpu}}\n"
        "models: {a: {upstream: a, backends: [t]}, b: {upstream: b, backends: [t]}}\n"
        f"roles: {{chat: {{chain: {chain}}}}}\n",
        {"FIRST": first},
    )
    assert configuration.catalog.roles["chat"].chain == means


@pytest.mark.parametrize(("word", "cloud"), [("yes", "yes"), ("On", "yes"), ("no", "no"), ("when_late", "when_late")])
def test_allow_cloud_accepts_every_boolean_word_of_yaml(tmp_path: Path, word: str, cloud: str) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(f"urgency: {{batch: {{allow_cloud: {word}}}}}")
    first = config.load(file, environ={}, cwd=tmp_path)
    assert first.catalog.urgency["batch"].allow_cloud == cloud  # type: ignore[index]
    file.write_text(config.dump(first))
    assert config.load(file, environ={}, cwd=tmp_path) == first


@pytest.mark.parametrize("number", [1e-06, 2.5e-09, 1e-05, 0.1 + 0.2, 1e16, 12345678.9, 100.0, 0.0, -1e-07])
def test_a_number_as_programs_write_it_in_yaml_is_read_again(number: float) -> None:
    written = yaml.safe_dump(number).splitlines()[0]
    assert parse_number(written) == parse_number(json.dumps(number)) == number
    assert number < 0 or parse_duration(written) == number


@pytest.mark.parametrize(
    "text", ["1e", "e5", "1.0e-", "1e1000", ".inf", "nan", "1.0e-06x", "0x10", "1__0", "_1", "1_", "1e5.0", "--1"]
)
def test_text_that_is_no_number_is_refused(text: str) -> None:
    assert parse_number(text) is None


def test_a_budget_that_a_program_wrote_is_read(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(yaml.safe_dump({"budgets": [{"name": "tiny", "usd": 1e-06}], "retry": {"retry_budget": 1e-05}}))
    first = config.load(file, environ={}, cwd=tmp_path)
    assert (first.catalog.budgets[0].usd, first.catalog.retry.retry_budget) == (1e-06, 1e-05)
    file.write_text(config.dump(first))
    assert config.load(file, environ={}, cwd=tmp_path) == first


@pytest.mark.parametrize(
    ("text", "tokens", "size"),
    [
        ("4096", 4096, 4096),
        ("32k", 32_000, 32_000),
        ("32Ki", 32_768, 32_768),
        ("1.0e+5", 100_000, 100_000),
        ("131_072", 131_072, 131_072),
        ("32kb", None, 32_000),
        ("32 KB", None, 32_000),
        ("4MiB", None, 4 * 2**20),
        ("512b", None, 512),
        ("0.5", None, None),
        ("1e30", None, None),
        ("32bk", None, None),
        ("32kbb", None, None),
    ],
)
def test_tokens_are_not_written_in_bytes(text: str, tokens: int | None, size: int | None) -> None:
    assert (parse_tokens(text), parse_size(text)) == (tokens, size)


@pytest.mark.parametrize("text", ["32kb", "8KiB", "4096B"])
def test_a_context_in_bytes_is_reported_with_its_remedy(tmp_path: Path, text: str) -> None:
    with pytest.raises(config.ConfigError) as error:
        load_text(
            tmp_path,
            "backends: {t: {url: 'http://a', pool: gpu}}\n"
            f"models: {{a: {{upstream: a, backends: [t], context: {text}}}}}\nroles: {{chat: {{chain: [a]}}}}\n",
            {},
        )
    assert (
        f'must be a number of tokens such as 4096 or 32k, not "{text}". '
        "Tokens are not counted in bytes: write it without the b."
    ) in str(error.value)
