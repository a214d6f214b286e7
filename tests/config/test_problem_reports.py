"""Problems are reported once, all together, in the order of the file, and without a secret."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from openfall import config
from openfall.config import ConfigError, ConfigProblem
from tests.config.config_texts import VALID, check, check_text


def test_a_key_that_occurs_twice_is_reported_at_the_second(tmp_path: Path) -> None:
    text = """
    backends:
      tower: {pool: gpu, url: http://a}
      desk: {pool: gpu, url: http://b}
      tower: {pool: gpu, url: http://c}
    """
    assert check_text(tmp_path, text) == [
        'openfall.yaml:4 backends: the key "tower" occurs twice, first on line 2. Remove one of them.'
    ]


def test_a_model_in_two_pools_is_reported_at_its_list(tmp_path: Path) -> None:
    text = """
    backends:
      tower: {pool: gpu, url: http://a}
      far: {pool: cloud, url: http://b}
    models:
      coder:
        upstream: x
        backends:
          - tower
          - far
    """
    assert check_text(tmp_path, text) == [
        "openfall.yaml:7 models.coder.backends: its backends are in different pools (cloud, gpu): one model, one pool."
    ]


def test_a_role_with_the_name_of_a_model_is_reported(tmp_path: Path) -> None:
    text = """
    backends: {tower: {pool: gpu, url: http://a}}
    models: {coder: {upstream: x, backends: [tower]}, haiku: {upstream: x, backends: [tower]}}
    roles:
      coder: {chain: [haiku, coder]}
    """
    assert check_text(tmp_path, text) == [
        "openfall.yaml:4 roles.coder: a model has the same name: callers could mean either."
    ]


def test_an_unknown_name_in_a_list_is_reported_on_its_own_line(tmp_path: Path) -> None:
    text = """
    roles:
      chat:
        chain:
          - coder
          - codr
    """
    (problem,) = check_text(tmp_path, dedent(text) + VALID["backends"] + "\n" + VALID["models"])
    assert problem == 'openfall.yaml:5 roles.chat.chain: unknown model "codr". Did you mean "coder"?'


def test_every_problem_of_a_file_is_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
    redis: valkey
    bakends: {}
    backends:
      tower: {pool: gpu, url: http://a, slots: many}
      desk: {pool: cloud, url: b, engine: {}}
    models:
      coder: {upstream: off, backends: [tower, desk], context: 1}
      haiku: {upstream: x, backends: [towr]}
    roles:
      chat: {chain: [coder, coder, haiku, zzz]}
      coder: {chain: [coder, haiku], urgency: soon}
    urgency:
      batch: {expires_after: "${NOPE}"}
    workers: {slots: 0}
    """
    places = [line.removeprefix("openfall.yaml:").partition(": ")[0] for line in check_text(tmp_path, text)]
    assert places == [
        "1 redis",
        "2",
        "4 backends.tower.slots",
        "5 backends.desk.url",
        "5 backends.desk.engine",
        "7 models.coder.upstream",
        "7 models.coder.backends",
        "8 models.haiku.backends",
        "10 roles.chat.chain",
        "10 roles.chat.chain",
        "11 roles.coder.urgency",
        "13 urgency.batch.expires_after",
        "14 workers.slots",
    ]


def test_a_backend_that_cannot_be_read_is_not_also_unknown(tmp_path: Path) -> None:
    text = """
    backends: {tower: {pool: gpuu, url: http://a}}
    models: {coder: {upstream: x, backends: [tower]}}
    roles: {chat: {chain: [coder]}}
    """
    assert check_text(tmp_path, text) == [
        'openfall.yaml:1 backends.tower.pool: unknown pool "gpuu". Did you mean "gpu"?'
    ]


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
        pytest.param("a:\n\tb: c", ":2: not YAML: the line begins with a tab. Indent with spaces.", id="a tab"),
        pytest.param("a:\n  \tb: c", ":2: not YAML: the line begins with a tab. Indent", id="a tab behind spaces"),
        pytest.param("a:\n  - b\n\t- c", ":3: not YAML: the line begins with a tab. Indent", id="a tab before a dash"),
        pytest.param("redis: *x", ":1: not YAML: a word that begins with * refers to an &anchor", id="an alias"),
        pytest.param("a: 1\n---\nb: 2", ":2: a second document begins with ---", id="two documents"),
        pytest.param("a: \x00", ": not YAML: it has characters that YAML does not allow", id="a forbidden character"),
        pytest.param("- a", ":1: must be a mapping of keys to values, not a list", id="a list"),
        pytest.param("hello", ":1: must be a mapping of keys to values, not a single value", id="prose"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_reported(tmp_path: Path, text: str, message: str) -> None:
    (problem,) = check_text(tmp_path, text)
    assert problem.startswith(f"openfall.yaml{message}")


def test_an_unquoted_variable_between_braces_is_reported_with_the_remedy(tmp_path: Path) -> None:
    (problem,) = check_text(tmp_path, "\nbackends: {tower: {api_key: ${KEY:-}, pool: gpu}}")
    assert problem.endswith('Inside { } and [ ], write "${VAR}" in quotes.')


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    (problem,) = check(tmp_path / "no.yaml", environ={}, cwd=tmp_path)
    assert str(problem) == "no.yaml: there is no such file. Name one that exists with --config or $OPENFALL_CONFIG."


def test_a_directory_is_reported(tmp_path: Path) -> None:
    (problem,) = check(tmp_path, environ={}, cwd=tmp_path / "elsewhere")
    assert str(problem) == f"{tmp_path}: it is a directory. Name a file."
    (tmp_path / "openfall.yaml").write_text("")
    (problem,) = check(tmp_path, environ={}, cwd=tmp_path / "elsewhere")
    assert str(problem) == f"{tmp_path}: it is a directory. Name the file in it: {tmp_path / 'openfall.yaml'}."


@pytest.mark.parametrize("credential", ["api_key: secret-1", "api_keys: [secret-1, secret-2]", "auth_token: secret-1"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("url: 'https://h', slots: 0", "backends.tower.slots: must be 1 or more"),
        ("url: 'https://u:p@h'", "backends.tower.url: an address must not carry a user or password"),
        ("url: 'https://h', vram_gb: -1", "backends.tower.vram_gb: must be"),
    ],
)
def test_a_wrong_value_beside_a_credential_is_the_only_problem(
    tmp_path: Path, credential: str, fields: str, message: str
) -> None:
    (problem,) = check_text(tmp_path, f"backends: {{tower: {{{fields}, pool: gpu, {credential}}}}}")
    assert message in problem
    assert "secret" not in problem


def test_a_file_in_another_encoding_is_reported_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_bytes("# fine\n# schön".encode("latin-1"))
    (problem,) = check(file, environ={}, cwd=tmp_path)
    assert str(problem) == "openfall.yaml:2: not UTF-8 text. Save the file as UTF-8."


def test_a_long_word_is_cut(tmp_path: Path) -> None:
    (problem,) = check_text(tmp_path, "backends: {tower: {pool: gpu, url: http://a, slots: " + "x" * 300 + "}}")
    assert problem.endswith(f'not "{"x" * 40}…".')


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"redis: ftp://:{SECRET}@a", id="in the address of Redis"),
        pytest.param(f"redis: redis://:{SECRET}@a:port", id="before a wrong port"),
        pytest.param(f"backends: {{t: {{pool: gpu, url: http://a, api_key: [{SECRET}]}}}}", id="in a list"),
        pytest.param(f"backends: {{t: {{pool: gpu, url: http://a, api_key:{SECRET}}}}}", id="after a lost space"),
        pytest.param(
            f"backends:\n  t:\n    pool: gpu\n    api_key:{SECRET}\n    url: x", id="after a lost space in a block"
        ),
        pytest.param(f"backends: {{t: {{pool: gpu, url: 'http://u:{SECRET}@a'}}}}", id="in the address of a backend"),
        pytest.param(f"backends: {{t: {{pool: gpu, url: 'u:{SECRET}@a'}}}}", id="in half an address"),
        pytest.param(f"open_fall: {{notify: {{discord: 'http://a/api/webhooks/1/{SECRET}'}}}}", id="in a Discord hook"),
        pytest.param(f"open_fall: {{notify: {{discord: {SECRET}}}}}", id="in place of a Discord webhook"),
        pytest.param(f"open_fall: {{notify: {{webhook: 'http://{SECRET}@a'}}}}", id="in a webhook"),
        pytest.param(f"open_fall: {{notify: {{webhook: 'https://a/{SECRET}'}}}}", id="in an unsigned webhook"),
        pytest.param(f"open_fall: {{notify: {{webhook:https://a/{SECRET}}}}}", id="in a webhook after a lost space"),
        pytest.param(f"webhooks: {{secret: {SECRET}}}", id="in a short signing secret"),
        pytest.param(f"webhooks: {{secret: whsec_{SECRET}}}", id="in a signing secret that is not base64"),
        pytest.param(f"webhooks: {{secret: [{SECRET}]}}", id="in a list of signing secrets"),
        pytest.param(f"backends: {{t: {{pool: gpu, url: http://a, api_key: &{SECRET} }}}}", id="as an anchor"),
        pytest.param(f"backends: {{t: {{pool: gpu, url: http://a, api_key: *{SECRET} }}}}", id="as an alias"),
    ],
)
def test_no_problem_shows_a_secret(tmp_path: Path, text: str) -> None:
    problems = check_text(tmp_path, text)
    assert problems
    assert SECRET not in "\n".join(problems)


def test_an_api_key_of_digits_is_reported_without_showing_it(tmp_path: Path) -> None:
    assert check_text(tmp_path, "backends: {t: {pool: gpu, url: http://a, api_key: 12345678}}") == [
        "openfall.yaml:1 backends.t.api_key: must be text, but what stands here without quotes is a number in YAML. "
        "Put it in quotes."
    ]


def test_the_value_of_a_variable_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text("workers: {slots: '${SLOTS}', shutdown_grace: '${SLOTS}'}\nroles: {chat: {urgency: '${SLOTS}'}}")
    problems = check(file, environ={"SLOTS": SECRET}, cwd=tmp_path)
    assert len(problems) == 4
    assert SECRET not in "\n".join(map(str, problems))


def test_a_problem_without_a_line_is_of_the_whole_file() -> None:
    assert str(ConfigProblem(Path("a.yaml"), 0, "", "gone")) == "a.yaml: gone."
