"""Every kind of mistake in a file is reported with line, path and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.config_texts import VALID, check, check_text, with_valid_sections


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(
            "roles: {chat: {chian: [coder]}}",
            'openfall.yaml:1 roles.chat: unknown key "chian". Did you mean "chain"?',
            id="a misspelt key",
        ),
        pytest.param(
            "roles: {chat: {chain: [codr]}}",
            'openfall.yaml:1 roles.chat.chain: unknown model "codr". Did you mean "coder"?',
            id="a misspelt model",
        ),
        pytest.param(
            "roles: {chat: {chain: [coder, coder]}}",
            "openfall.yaml:1 roles.chat.chain: it names a model twice.",
            id="a model twice in a chain",
        ),
        pytest.param(
            "roles: {chat: {chain: []}}",
            "openfall.yaml:1 roles.chat.chain: the list is empty. Name at least one model.",
            id="an empty chain",
        ),
        pytest.param(
            "roles: {chat: {chain: coder}}",
            "openfall.yaml:1 roles.chat.chain: must be a list, not a single value. Put it into brackets: [one].",
            id="a word for a list",
        ),
        pytest.param(
            "roles: {chat: {chain: }}",
            "openfall.yaml:1 roles.chat.chain: must be a list, not nothing. Write it as [one, two].",
            id="nothing for a list",
        ),
        pytest.param(
            "roles: {chat: {urgency: batch}}",
            'openfall.yaml:1 roles.chat: "chain" is missing. Add chain: to it.',
            id="a key that is missing",
        ),
        pytest.param(
            "roles: {chat: {chain: [coder], urgency: bacth}}",
            'openfall.yaml:1 roles.chat.urgency: unknown urgency "bacth". Did you mean "batch"?',
            id="a misspelt urgency",
        ),
        pytest.param(
            "roles: {Chat: {chain: [coder]}}",
            'openfall.yaml:1 roles: "Chat" cannot be a name. A name has small letters, digits, - and _, '
            "begins with a letter or digit, and has at most 63 of them.",
            id="a name in capitals",
        ),
        pytest.param(
            "roles: {[chat]: {chain: [coder]}}",
            "openfall.yaml:1 roles: a key must be a word, not a list.",
            id="a list for a key",
        ),
        pytest.param(
            "roles: [chat]",
            "openfall.yaml:1 roles: must be a mapping of keys to values, not a list.",
            id="a list for a mapping",
        ),
    ],
)
def test_a_mistake_in_a_role_is_reported(tmp_path: Path, line: str, message: str) -> None:
    assert check_text(tmp_path, with_valid_sections("roles", line)) == [message]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            "upstream: no, backends: [tower]",
            'upstream: must be text, but "no" without quotes is one of the words that YAML reads as true or false. '
            "Put it in quotes.",
            id="a bare no",
        ),
        pytest.param(
            "upstream: 1:30, backends: [tower]",
            'upstream: must be text, but "1:30" without quotes is a number in YAML. Put it in quotes.',
            id="a bare 1:30",
        ),
        pytest.param(
            "upstream: 2026-01-01, backends: [tower]",
            'upstream: must be text, but "2026-01-01" without quotes is a date in YAML. Put it in quotes.',
            id="a bare date",
        ),
        pytest.param(
            "upstream: 1.5, backends: [tower]",
            'upstream: must be text, but "1.5" without quotes is a number in YAML. Put it in quotes.',
            id="a bare version",
        ),
        pytest.param('upstream: "", backends: [tower]', "upstream: must not be empty.", id="an empty text"),
        pytest.param(
            "upstream: , backends: [tower]",
            "upstream: nothing stands here. Write a value, or remove the key.",
            id="nothing for a text",
        ),
        pytest.param(
            "upstream: [x], backends: [tower]", "upstream: must be a single value, not a list.", id="a list for a text"
        ),
        pytest.param(
            "upstream: {x: y}, backends: [tower]",
            "upstream: must be a single value, not a mapping.",
            id="a mapping for a text",
        ),
        pytest.param(
            "upstream: x, backends: [towr]",
            'backends: unknown backend "towr". Did you mean "tower"?',
            id="a misspelt backend",
        ),
        pytest.param(
            "upstream: x, backends: [tower], context: 32q",
            'context: must be a number of tokens such as 4096 or 32k, not "32q".',
            id="an unknown unit of size",
        ),
        pytest.param(
            "upstream: x, backends: [tower], context: 0.5",
            'context: must be a number of tokens such as 4096 or 32k, not "0.5".',
            id="half a token",
        ),
        pytest.param(
            "upstream: x, backends: [tower], context: 0", "context: must be 1 or more.", id="a context of nothing"
        ),
        pytest.param(
            "upstream: x, backends: [tower], timeout: 5 weeks",
            'timeout: must be a duration such as 500ms, 5s, 2m, 24h or 7d, not "5 weeks".',
            id="an unknown unit of time",
        ),
        pytest.param(
            "upstream: x, backends: [tower], timeout: 0s", "timeout: must be more than 0.", id="no time at all"
        ),
        pytest.param(
            'upstream: "${NAME}", backends: [tower]',
            "upstream: the environment variable NAME is not set. Set it, or write a default: ${NAME:-...}.",
            id="a variable that is not set",
        ),
        pytest.param(
            'upstream: "${NAME-x}", backends: [tower]',
            "upstream: a ${ that is not of the form ${VAR} or ${VAR:-default}. Write $${ for a plain ${.",
            id="a variable in another form",
        ),
        pytest.param(
            'upstream: "qwen3-coder:CLOUD", backends: [tower]',
            'upstream: "qwen3-coder:CLOUD" runs in the cloud, but pool "gpu" is local. '
            "Serve it at a backend of a pool that is not local.",
            id="a cloud model in a local pool",
        ),
        pytest.param(
            "upstream: gpt-oss-cloud, backends: [tower]",
            'upstream: "gpt-oss-cloud" runs in the cloud, but pool "gpu" is local. '
            "Serve it at a backend of a pool that is not local.",
            id="a cloud model by its other name",
        ),
    ],
)
def test_a_mistake_in_a_model_is_reported(tmp_path: Path, fields: str, message: str) -> None:
    text = f"models:\n  coder:\n    {{{fields}}}\n{VALID['backends']}\n{VALID['roles']}"
    (problem,) = check_text(tmp_path, text)
    line = 2 if "missing" in message else 3
    assert problem == f"openfall.yaml:{line} models.coder.{message}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param("pool: gpu", '1 backends.tower: "url" is missing. Add url: to it.', id="no address"),
        pytest.param("url: http://a", '1 backends.tower: "pool" is missing. Add pool: to it.', id="no pool"),
        pytest.param(
            "protocol: anthropic",
            '1 backends.tower: "pool" is missing. Add pool: to it.',
            id="no pool, and a known key that is spelt a little like it",
        ),
        pytest.param(
            "pool: gpuu, url: http://a", '1 backends.tower.pool: unknown pool "gpuu". Did you mean "gpu"?', id="a pool"
        ),
        pytest.param(
            "pool: gpu, url: a", "1 backends.tower.url: must be an address such as http://127.0.0.1:8080.", id="a URL"
        ),
        pytest.param(
            "pool: gpu, url: 'https://https://h/v1'",
            "1 backends.tower.url: must be an address such as http://127.0.0.1:8080.",
            id="a URL that was pasted into another",
        ),
        pytest.param(
            "pool: gpu, url: 'https://{resource}.example.com'",
            "1 backends.tower.url: must be an address such as http://127.0.0.1:8080.",
            id="a placeholder for the host",
        ),
        *(
            pytest.param(
                f"pool: gpu, url: '{url}'",
                "1 backends.tower.url: must be an address such as http://127.0.0.1:8080.",
                id=f"an address that cannot be: {url}",
            )
            for url in ("http://[::1", "https://[a]/v1")
        ),
        *(
            pytest.param(
                f"pool: gpu, url: '{url}'",
                "1 backends.tower.url: the port must be a number from 1 to 65535, such as 8080.",
                id=f"a port that cannot be: {url}",
            )
            for url in ("http://a:99999", "http://a:port", "http://a:-1/v1", "http://a:0")
        ),
        pytest.param(
            "pool: gpu, url: http://a, slots: many",
            '1 backends.tower.slots: must be a whole number such as 4, not "many".',
            id="a word for a number",
        ),
        pytest.param(
            "pool: gpu, url: http://a, slots: 2.5",
            '1 backends.tower.slots: must be a whole number such as 4, not "2.5".',
            id="a fraction",
        ),
        pytest.param("pool: gpu, url: http://a, slots: -1", "1 backends.tower.slots: must be 1 or more.", id="too few"),
        pytest.param(
            "pool: gpu, url: http://a, slots: 5000", "1 backends.tower.slots: must be 4096 or less.", id="too many"
        ),
        pytest.param(
            "pool: gpu, url: http://a, protocol: opnai",
            '1 backends.tower.protocol: unknown protocol "opnai". Did you mean "openai"?',
            id="an unknown protocol",
        ),
        pytest.param(
            "pool: gpu, url: http://a, embedded: maybe",
            '1 backends.tower.embedded: must be yes or no, not "maybe".',
            id="neither yes nor no",
        ),
        pytest.param(
            "pool: gpu, url: http://a, engine: {}",
            "1 backends.tower.engine: only an embedded backend has an engine. "
            "Add embedded: yes to the backend, or remove this.",
            id="an engine for a backend that is not embedded",
        ),
    ],
)
def test_a_mistake_in_a_backend_is_reported(tmp_path: Path, fields: str, message: str) -> None:
    assert check_text(tmp_path, f"backends: {{tower: {{{fields}}}}}") == [f"openfall.yaml:{message}"]


@pytest.mark.parametrize("url", ["http://10.0.0.1:80", "http://127.0.0.1", "https://127.0.0.1:80"])
def test_an_embedded_backend_must_have_a_port_of_this_machine(tmp_path: Path, url: str) -> None:
    assert check_text(tmp_path, f"backends:\n  tower:\n    pool: gpu\n    embedded: yes\n    url: {url}") == [
        "openfall.yaml:5 backends.tower.url: an embedded engine listens on this machine, and this address is not on it "
        "or names no port. Write it as http://127.0.0.1:8391."
    ]


def test_an_embedded_backend_without_an_address_is_reported_once(tmp_path: Path) -> None:
    assert check_text(tmp_path, "backends: {tower: {pool: gpu, embedded: yes}}") == [
        'openfall.yaml:1 backends.tower: "url" is missing. Add url: to it.'
    ]


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("model: smolm2", 'model: unknown model "smolm2". Did you mean "smollm2"? Or write a path.'),
        ("model: [a]", "model: must be a single value, not a list."),
        ("context: 12", "context: must be 256 or more."),
        ("threads: 0", "threads: must be 1 or more."),
        ("parallel: 0", "parallel: must be 1 or more."),
        ("gpu_layers: -1", "gpu_layers: must be 0 or more."),
        ("gpu_layers: lots", 'gpu_layers: must be a whole number such as 4, not "lots".'),
    ],
)
def test_a_mistake_in_an_engine_is_reported(tmp_path: Path, engine: str, message: str) -> None:
    text = f"backends: {{tower: {{pool: gpu, embedded: on, url: http://localhost:1, engine: {{{engine}}}}}}}"
    assert check_text(tmp_path, text) == [f"openfall.yaml:1 backends.tower.engine.{message}"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bakends: {}", ': unknown key "bakends". Did you mean "backends"?'),
        ("pools: {gpu: {locl: yes}}", ' pools.gpu: unknown key "locl". Did you mean "local"?'),
        ("urgency: {batsch: {}}", ' urgency: unknown key "batsch". Did you mean "batch"?'),
        ("urgency: {batch: {expires_after: 0}}", " urgency.batch.expires_after: must be more than 0."),
        ("privacy: {keep_prompts: 3}", ' privacy.keep_prompts: must be yes or no, not "3".'),
        (
            "retention: {results: tomorrow}",
            ' retention.results: must be a duration such as 500ms, 5s, 2m, 24h or 7d, not "tomorrow".',
        ),
        ("limits: {max_prompt: 0}", " limits.max_prompt: must be 1 or more."),
        ("workers: {slots: 0}", " workers.slots: must be 1 or more."),
        (
            "backends: {sky: {url: 'http://a', pool: gpu, requests_per_minute: 0}}",
            " backends.sky.requests_per_minute: must be 1 or more.",
        ),
        (
            "backends: {sky: {url: 'http://a', pool: gpu, tokens_per_minute: 0k}}",
            " backends.sky.tokens_per_minute: must be 1 or more.",
        ),
        ("backends: {sky: {url: 'http://a', pool: gpu, burst: 0}}", " backends.sky.burst: must be more than 0."),
        ("backends: {sky: {url: 'http://a', pool: gpu, burst: 80%}}", " backends.sky.burst: must be 0.5 or less."),
        ("workers: 5", " workers: must be a mapping of keys to values, not a single value."),
        ("data: ", None),
        (
            'redis: "${EMPTY}"',
            " redis: must be embedded or an address such as redis://127.0.0.1:6379/0, rediss://... or unix://....",
        ),
        (
            "redis: valkey",
            " redis: must be embedded or an address such as redis://127.0.0.1:6379/0, rediss://... or unix://....",
        ),
        (
            "redis: redis://127.0.0.1:port",
            " redis: must be embedded or an address such as redis://127.0.0.1:6379/0, rediss://... or unix://....",
        ),
    ],
)
def test_a_mistake_in_another_section_is_reported(tmp_path: Path, line: str, message: str | None) -> None:
    assert check_text(tmp_path, line) == ([] if message is None else [f"openfall.yaml:1{message}"])


def test_a_variable_that_is_read_without_being_written_is_reported_too(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text("")
    (problem,) = check(file, environ={"REDIS_URL": "hunter2"}, cwd=tmp_path)
    assert (problem.line, problem.path) == (0, "redis")
    assert "hunter2" not in str(problem)
