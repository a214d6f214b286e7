"""Every kind of mistake in a file, told with its line, its place and its remedy."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

import config
from config import ConfigError, Problem

SOUND = {
    "backends": "backends: {tower: {url: http://127.0.0.1:8080, pool: gpu}}",
    "models": "models: {coder: {upstream: coder-32b, at: [tower]}}",
    "roles": "roles: {chat: {chain: [coder]}}",
}


def told(directory: Path, text: str) -> list[str]:
    """The problems of a file with this text, as people see them."""
    file = directory / "openfall.yaml"
    file.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return [str(problem) for problem in config.check(file, environ={"EMPTY": ""}, cwd=directory)]


def beside(section: str, text: str) -> str:
    """A file whose first line is `text`, for `section`; the sections it builds on are sound."""
    return "\n".join([text, *(line for name, line in SOUND.items() if name != section)])


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
            "openfall.yaml:1 roles.chat.chain: a model stands in it twice.",
            id="a model twice in a chain",
        ),
        pytest.param(
            "roles: {chat: {chain: []}}",
            "openfall.yaml:1 roles.chat.chain: the list is empty. Name at least one model.",
            id="an empty chain",
        ),
        pytest.param(
            "roles: {chat: {chain: coder}}",
            "openfall.yaml:1 roles.chat.chain: must be a list, not a single value. Write it as [one, two].",
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
def test_a_mistake_in_a_role_is_told(tmp_path: Path, line: str, message: str) -> None:
    assert told(tmp_path, beside("roles", line)) == [message]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            "upstream: no, at: [tower]",
            'upstream: must be text, but "no" without quotes is one of the words that YAML reads as true or false. '
            "Put it in quotes.",
            id="a bare no",
        ),
        pytest.param(
            "upstream: 1:30, at: [tower]",
            'upstream: must be text, but "1:30" without quotes is a number in YAML. Put it in quotes.',
            id="a bare 1:30",
        ),
        pytest.param(
            "upstream: 2026-01-01, at: [tower]",
            'upstream: must be text, but "2026-01-01" without quotes is a date in YAML. Put it in quotes.',
            id="a bare date",
        ),
        pytest.param(
            "upstream: 1.5, at: [tower]",
            'upstream: must be text, but "1.5" without quotes is a number in YAML. Put it in quotes.',
            id="a bare version",
        ),
        pytest.param('upstream: "", at: [tower]', "upstream: must not be empty.", id="an empty text"),
        pytest.param(
            "upstream: , at: [tower]",
            "upstream: nothing stands here. Write a value, or remove the key.",
            id="nothing for a text",
        ),
        pytest.param(
            "upstream: [x], at: [tower]", "upstream: must be a single value, not a list.", id="a list for a text"
        ),
        pytest.param(
            "upstream: {x: y}, at: [tower]",
            "upstream: must be a single value, not a mapping.",
            id="a mapping for a text",
        ),
        pytest.param(
            "upstream: x, at: [towr]", 'at: unknown backend "towr". Did you mean "tower"?', id="a misspelt backend"
        ),
        pytest.param(
            "upstream: x, at: [tower], ctx: 32q",
            'ctx: must be a size such as 4096, 32k or 4MiB, not "32q".',
            id="an unknown unit of size",
        ),
        pytest.param(
            "upstream: x, at: [tower], ctx: 0.5",
            'ctx: must be a size such as 4096, 32k or 4MiB, not "0.5".',
            id="half a token",
        ),
        pytest.param("upstream: x, at: [tower], ctx: 0", "ctx: must be 1 or more.", id="a context of nothing"),
        pytest.param(
            "upstream: x, at: [tower], timeout: 5 weeks",
            'timeout: must be a duration such as 500ms, 5s, 2m, 24h or 7d, not "5 weeks".',
            id="an unknown unit of time",
        ),
        pytest.param("upstream: x, at: [tower], timeout: 0s", "timeout: must be more than 0.", id="no time at all"),
        pytest.param(
            'upstream: "${NAME}", at: [tower]',
            "upstream: the environment variable NAME is not set. Set it, or write a default: ${NAME:-...}.",
            id="a variable that is not set",
        ),
        pytest.param(
            'upstream: "${NAME-x}", at: [tower]',
            "upstream: a ${ that is not of the form ${VAR} or ${VAR:-default}. Write $${ for a plain ${.",
            id="a variable in another form",
        ),
        pytest.param(
            'upstream: "qwen3-coder:CLOUD", at: [tower]',
            'upstream: "qwen3-coder:CLOUD" runs in the cloud, but pool "gpu" is local. '
            "Serve it at a backend of a pool that is not local.",
            id="a cloud model in a local pool",
        ),
        pytest.param(
            "upstream: gpt-oss-cloud, at: [tower]",
            'upstream: "gpt-oss-cloud" runs in the cloud, but pool "gpu" is local. '
            "Serve it at a backend of a pool that is not local.",
            id="a cloud model by its other name",
        ),
    ],
)
def test_a_mistake_in_a_model_is_told(tmp_path: Path, fields: str, message: str) -> None:
    text = f"models:\n  coder:\n    {{{fields}}}\n{SOUND['backends']}\n{SOUND['roles']}"
    (problem,) = told(tmp_path, text)
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
def test_a_mistake_in_a_backend_is_told(tmp_path: Path, fields: str, message: str) -> None:
    assert told(tmp_path, f"backends: {{tower: {{{fields}}}}}") == [f"openfall.yaml:{message}"]


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:80", "http://127.0.0.1", "https://127.0.0.1:80", "http://127.0.0.1:99999"]
)
def test_an_embedded_backend_must_have_a_port_of_this_machine(tmp_path: Path, url: str) -> None:
    assert told(tmp_path, f"backends:\n  tower:\n    pool: gpu\n    embedded: yes\n    url: {url}") == [
        "openfall.yaml:5 backends.tower.url: an embedded engine listens on this machine, and this address is not on it "
        "or names no port. Write it as http://127.0.0.1:8391."
    ]


def test_an_embedded_backend_without_an_address_is_told_once(tmp_path: Path) -> None:
    assert told(tmp_path, "backends: {tower: {pool: gpu, embedded: yes}}") == [
        'openfall.yaml:1 backends.tower: "url" is missing. Add url: to it.'
    ]


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("model: smolm2", 'model: unknown model "smolm2". Did you mean "smollm2"? Or write a path.'),
        ("model: [a]", "model: must be a single value, not a list."),
        ("ctx: 12", "ctx: must be 256 or more, not 12."),
        ("threads: 0", "threads: must be 1 or more, not 0."),
        ("parallel: 0", "parallel: must be 1 or more, not 0."),
        ("gpu_layers: -1", "gpu_layers: must be 0 or more, not -1."),
        ("gpu_layers: lots", 'gpu_layers: must be a whole number such as 4, not "lots".'),
    ],
)
def test_a_mistake_in_an_engine_is_told(tmp_path: Path, engine: str, message: str) -> None:
    text = f"backends: {{tower: {{pool: gpu, embedded: on, url: http://localhost:1, engine: {{{engine}}}}}}}"
    assert told(tmp_path, text) == [f"openfall.yaml:1 backends.tower.engine.{message}"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bakends: {}", ': unknown key "bakends". Did you mean "backends"?'),
        ("pools: {gpu: {locl: yes}}", ' pools.gpu: unknown key "locl". Did you mean "local"?'),
        ("urgency: {batsch: {}}", ' urgency: unknown key "batsch". Did you mean "batch"?'),
        ("urgency: {batch: {give_up: 0}}", " urgency.batch.give_up: must be more than 0."),
        ("privacy: {keep_prompts: 3}", ' privacy.keep_prompts: must be yes or no, not "3".'),
        (
            "privacy: {keep_results: tomorrow}",
            ' privacy.keep_results: must be a duration such as 500ms, 5s, 2m, 24h or 7d, not "tomorrow".',
        ),
        ("limits: {prompt: 0}", " limits.prompt: must be 1 or more, not 0."),
        ("workers: {slots: 0}", " workers.slots: must be 1 or more, not 0."),
        ("workers: 5", " workers: must be a mapping of keys to values, not a single value."),
        ("data: ", None),
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
def test_a_mistake_in_another_section_is_told(tmp_path: Path, line: str, message: str | None) -> None:
    assert told(tmp_path, line) == ([] if message is None else [f"openfall.yaml:1{message}"])


def test_a_variable_that_is_read_without_being_written_is_told_too(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text("")
    (problem,) = config.check(file, environ={"REDIS_URL": "hunter2"}, cwd=tmp_path)
    assert (problem.line, problem.path) == (0, "redis")
    assert "hunter2" not in str(problem)


def test_a_key_that_stands_twice_is_told_at_the_second(tmp_path: Path) -> None:
    text = """
    backends:
      tower: {pool: gpu, url: http://a}
      desk: {pool: gpu, url: http://b}
      tower: {pool: gpu, url: http://c}
    """
    assert told(tmp_path, text) == [
        'openfall.yaml:4 backends: the key "tower" stands twice, first on line 2. Remove one of them.'
    ]


def test_a_model_in_two_pools_is_told_at_its_list(tmp_path: Path) -> None:
    text = """
    backends:
      tower: {pool: gpu, url: http://a}
      far: {pool: cloud, url: http://b}
    models:
      coder:
        upstream: x
        at:
          - tower
          - far
    """
    assert told(tmp_path, text) == [
        "openfall.yaml:7 models.coder.at: its backends are in different pools (cloud, gpu): one model, one pool."
    ]


def test_a_role_with_the_name_of_a_model_is_told(tmp_path: Path) -> None:
    text = """
    backends: {tower: {pool: gpu, url: http://a}}
    models: {coder: {upstream: x, at: [tower]}, haiku: {upstream: x, at: [tower]}}
    roles:
      coder: {chain: [haiku, coder]}
    """
    assert told(tmp_path, text) == [
        "openfall.yaml:4 roles.coder: a model has the same name: callers could mean either."
    ]


def test_an_unknown_name_in_a_list_is_told_on_its_own_line(tmp_path: Path) -> None:
    text = """
    roles:
      chat:
        chain:
          - coder
          - codr
    """
    (problem,) = told(tmp_path, dedent(text) + SOUND["backends"] + "\n" + SOUND["models"])
    assert problem == 'openfall.yaml:5 roles.chat.chain: unknown model "codr". Did you mean "coder"?'


def test_every_problem_of_a_file_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
    redis: valkey
    bakends: {}
    backends:
      tower: {pool: gpu, url: http://a, slots: many}
      desk: {pool: cloud, url: b, engine: {}}
    models:
      coder: {upstream: off, at: [tower, desk], ctx: 1}
      haiku: {upstream: x, at: [towr]}
    roles:
      chat: {chain: [coder, coder, haiku, zzz]}
      coder: {chain: [coder, haiku], urgency: soon}
    urgency:
      batch: {give_up: "${NOPE}"}
    workers: {slots: 0}
    """
    places = [line.removeprefix("openfall.yaml:").partition(": ")[0] for line in told(tmp_path, text)]
    assert places == [
        "1 redis",
        "2",
        "4 backends.tower.slots",
        "5 backends.desk.url",
        "5 backends.desk.engine",
        "7 models.coder.upstream",
        "7 models.coder.at",
        "8 models.haiku.at",
        "10 roles.chat.chain",
        "10 roles.chat.chain",
        "11 roles.coder.urgency",
        "13 urgency.batch.give_up",
        "14 workers.slots",
    ]


def test_a_backend_that_cannot_be_read_is_not_also_unknown(tmp_path: Path) -> None:
    text = """
    backends: {tower: {pool: gpuu, url: http://a}}
    models: {coder: {upstream: x, at: [tower]}}
    roles: {chat: {chain: [coder]}}
    """
    assert told(tmp_path, text) == ['openfall.yaml:1 backends.tower.pool: unknown pool "gpuu". Did you mean "gpu"?']


def test_an_error_has_its_problems_as_data_and_as_text(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("a: 1\n\nb: 2\n")
    with pytest.raises(ConfigError) as caught:
        config.load(file, environ={}, cwd=tmp_path / "elsewhere")
    first, second = caught.value.problems
    assert (first.file, first.line, first.path, first.message) == (file, 1, "", 'unknown key "a"')
    assert first.remedy.startswith("Known: ")
    assert second.line == 3
    assert str(caught.value) == f"{first}\n{second}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: [1", ":2: not YAML: ", id="an open bracket"),
        pytest.param("a:\n\tb: c", ":2: not YAML: ", id="a tab"),
        pytest.param("redis: *x", ":1: not YAML: a word that begins with * refers to an &anchor", id="an alias"),
        pytest.param("a: 1\n---\nb: 2", ":2: a second document begins with ---", id="two documents"),
        pytest.param("a: \x00", ": not YAML: it has characters that YAML does not allow", id="a forbidden character"),
        pytest.param("- a", ":1: must be a mapping of keys to values, not a list", id="a list"),
        pytest.param("hello", ":1: must be a mapping of keys to values, not a single value", id="prose"),
    ],
)
def test_what_is_not_a_configuration_is_told(tmp_path: Path, text: str, message: str) -> None:
    (problem,) = told(tmp_path, text)
    assert problem.startswith(f"openfall.yaml{message}")


def test_an_unquoted_variable_between_braces_is_told_to_be_quoted(tmp_path: Path) -> None:
    (problem,) = told(tmp_path, "\nbackends: {tower: {key: ${KEY:-}, pool: gpu}}")
    assert problem.endswith('Inside { } and [ ], write "${VAR}" in quotes.')


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    (problem,) = config.check(tmp_path / "no.yaml", environ={}, cwd=tmp_path)
    assert str(problem) == "no.yaml: there is no such file. Name one that exists with --config or $OPENFALL_CONFIG."


def test_a_directory_is_told_to_be_unreadable(tmp_path: Path) -> None:
    (problem,) = config.check(tmp_path, environ={}, cwd=tmp_path / "elsewhere")
    assert str(problem) == f"{tmp_path}: it cannot be read: Is a directory. Name a file that you may read."


def test_a_file_in_another_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_bytes("# fine\n# schön".encode("latin-1"))
    (problem,) = config.check(file, environ={}, cwd=tmp_path)
    assert str(problem) == "openfall.yaml:2: not UTF-8 text. Save the file as UTF-8."


def test_a_long_word_is_cut(tmp_path: Path) -> None:
    (problem,) = told(tmp_path, "backends: {tower: {pool: gpu, url: http://a, slots: " + "x" * 300 + "}}")
    assert problem.endswith(f'not "{"x" * 40}…".')


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"redis: ftp://:{SECRET}@a", id="in the address of Redis"),
        pytest.param(f"redis: redis://:{SECRET}@a:port", id="before a wrong port"),
        pytest.param(f"backends: {{t: {{pool: gpu, url: http://a, key: [{SECRET}]}}}}", id="in a list"),
        pytest.param(f"backends: {{t: {{pool: gpu, url: http://a, key:{SECRET}}}}}", id="after a lost space"),
        pytest.param(
            f"backends:\n  t:\n    pool: gpu\n    key:{SECRET}\n    url: x", id="after a lost space in a block"
        ),
        pytest.param(f"backends: {{t: {{pool: gpu, url: 'http://u:{SECRET}@a'}}}}", id="in the address of a backend"),
        pytest.param(f"backends: {{t: {{pool: gpu, url: 'u:{SECRET}@a'}}}}", id="in half an address"),
        pytest.param(f"backends: {{t: {{pool: gpu, url: http://a, key: &{SECRET} }}}}", id="as an anchor"),
        pytest.param(f"backends: {{t: {{pool: gpu, url: http://a, key: *{SECRET} }}}}", id="as an alias"),
    ],
)
def test_no_problem_shows_a_secret(tmp_path: Path, text: str) -> None:
    problems = told(tmp_path, text)
    assert problems
    assert SECRET not in "\n".join(problems)


def test_a_key_of_digits_is_told_without_showing_it(tmp_path: Path) -> None:
    assert told(tmp_path, "backends: {t: {pool: gpu, url: http://a, key: 12345678}}") == [
        "openfall.yaml:1 backends.t.key: must be text, but what stands here without quotes is a number in YAML. "
        "Put it in quotes."
    ]


def test_what_a_variable_held_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text("workers: {slots: '${SLOTS}', grace: '${SLOTS}'}\nroles: {chat: {urgency: '${SLOTS}'}}")
    problems = config.check(file, environ={"SLOTS": SECRET}, cwd=tmp_path)
    assert len(problems) == 4
    assert SECRET not in "\n".join(map(str, problems))


def test_a_problem_without_a_line_is_of_the_whole_file() -> None:
    assert str(Problem(Path("a.yaml"), 0, "", "gone")) == "a.yaml: gone."
