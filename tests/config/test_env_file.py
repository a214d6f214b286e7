"""The `.env` file beside the configuration: its syntax, its place, and what messages show of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall import config
from openfall.config import ConfigError, LoadedConfig
from openfall.config.env_file import MAX_BYTES, EnvFile, read_env_file
from openfall.config.paths import SHIPPED
from openfall.config.yaml_document import Document
from tests.config.config_texts import check

FILE = """
redis: ${REDIS_URL:-embedded}
backends: {api: {protocol: openai, api_key: "${API_KEY:-}", pool: cloud, url: "${API_URL:-https://api.example.com}"}}
models: {gpt: {upstream: "${MODEL:-gpt-1}", backends: [api]}}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with a configuration, above which no file is searched."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "openfall.yaml").write_text(FILE)
    return tmp_path


def write(home: Path, text: str | bytes) -> Path:
    file = home / ".env"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(0o600)
    return file


def read(home: Path, text: str | bytes, **environ: str) -> dict[str, str]:
    """The variables of a file without problems."""
    document = Document(Path(".env"), environ)
    env_file = read_env_file(write(home, text), document)
    assert document.problems == []
    return dict(env_file.values)


def problems(home: Path, text: str | bytes) -> list[str]:
    write(home, text)
    return [str(problem) for problem in check(environ={}, cwd=home)]


def load(home: Path, **environ: str) -> LoadedConfig:
    return config.load(environ=environ, cwd=home)


def key_of(loaded: LoadedConfig) -> str:
    return loaded.catalog.backends["api"].api_key.get_secret_value()


class TestSyntax:
    @pytest.mark.parametrize(
        ("line", "value"),
        [
            ("A=b", "b"),
            ("A=", ""),
            ("A = b c ", "b c"),
            ("\texport  A=b", "b"),
            ("export=b\nA=c", "c"),
            ("A=b # c", "b"),
            ("A=b#c", "b#c"),
            ("A= # c", ""),
            ("A=#c", "#c"),
            ("A=it's", "it's"),
            ("A='b # \"c\" \\n ${X}'", 'b # "c" \\n ${X}'),
            ("A='b' # c", "b"),
            ('A="b # c"', "b # c"),
            (r'A="\n\r\t\"\\\$\x"', '\n\r\t"\\$\\x'),
            ('A="one\ntwo"', "one\ntwo"),
            ("A='one\ntwo'", "one\ntwo"),
            ("A=pa$$word$", "pa$$word$"),
            ("A=b=c==", "b=c=="),
            ("A=größe", "größe"),
            ("B=b\nA=${B}c", "bc"),
            ('B=b\nA="${B}c\\${B}"', "bc${B}"),
            ("A=${OF_PROCESS}", "p"),
            ("OF_PROCESS=file\nA=${OF_PROCESS}", "p"),
            ("A=${NONE:-d}", "d"),
        ],
    )
    def test_a_line_sets_a_variable(self, tmp_path: Path, line: str, value: str) -> None:
        assert read(tmp_path, line, OF_PROCESS="p")["A"] == value

    def test_comments_empty_lines_windows_lines_and_a_byte_order_mark_are_no_obstacle(self, tmp_path: Path) -> None:
        text = b"\xef\xbb\xbf# a comment\r\n\r\nA=b\r\n  # another\r\nC='d'\r\n"
        assert read(tmp_path, text) == {"A": "b", "C": "d"}

    @pytest.mark.parametrize(
        ("text", "line", "words"),
        [
            ("A=b\nhunter2", 2, "not of the form NAME=value"),
            ("hunter2: b", 1, "not of the form NAME=value"),
            ("A=b\n\nhunter-2=c", 3, "cannot name a variable"),
            ("2hunter=c", 1, "cannot name a variable"),
            ("A='hunter2", 1, "quotes do not close"),
            ('A="hunter2\nB=c', 1, "quotes do not close"),
            ("A='x\ny'\nB='hunter2' c", 3, "text follows them"),
            ("A=hunter2\nB=c\nA=d", 3, "A: it is set twice, first on line 1"),
            ("A=b${hunter2}", 1, "A: a ${ in its value is not filled in"),
            ("A=b${hunter2", 1, "A: a ${ in its value is not filled in"),
            (b"A=b\nB=hunter2\xff", 2, "not UTF-8 text"),
        ],
    )
    def test_a_broken_line_is_an_error_with_its_position_that_shows_no_value(
        self, home: Path, text: str | bytes, line: int, words: str
    ) -> None:
        (problem,) = problems(home, text)
        assert problem.startswith(f".env:{line}")
        assert words in problem
        assert "hunter" not in problem

    def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(self, home: Path) -> None:
        fill = "#" + "x" * (MAX_BYTES - 5) + "\n"
        assert not problems(home, fill + "A=b")
        assert problems(home, fill + "A=bc") == [
            ".env: it has more than 1,000,000 bytes. Leave only lines NAME=value in it."
        ]

    def test_every_broken_line_is_reported_at_once(self, home: Path) -> None:
        assert len(problems(home, "a\nB=c\nd\n'e'=f\n")) == 3

    @given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), st.text()))
    def test_any_text_can_be_written_in_double_quotes(self, tmp_path_factory, values: dict[str, str]) -> None:
        values = {name: value.replace("\r", "").encode("utf-8", "ignore").decode() for name, value in values.items()}
        escaped = {
            name: value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") for name, value in values.items()
        }
        text = "".join(f'{name}="{value}"\n' for name, value in escaped.items())
        assert read(tmp_path_factory.mktemp("env"), text) == values

    @given(st.text())
    def test_no_text_breaks_the_reader_or_is_repeated_by_a_message(self, tmp_path_factory, text: str) -> None:
        document = Document(Path(".env"), {})
        secret = f"A={text}\nB='hunter2"
        read_env_file(write(tmp_path_factory.mktemp("env"), secret.encode("utf-8", "ignore")), document)
        assert all("hunter2" not in str(problem) for problem in document.problems)


class TestPlace:
    def test_the_env_file_beside_the_configuration_is_read(self, home: Path) -> None:
        write(home, "API_KEY=sk-0123456789-abcdefgh\nREDIS_URL=redis://10.0.0.9:6379/1\n")
        loaded = load(home)
        assert key_of(loaded) == "sk-0123456789-abcdefgh"
        assert loaded.settings.redis.url == "redis://10.0.0.9:6379/1"

    def test_it_is_read_from_a_directory_below_and_not_from_there(self, home: Path) -> None:
        write(home, "API_KEY=beside-the-file")
        (home / "bot").mkdir()
        write(home / "bot", "API_KEY=of-the-bot")
        assert key_of(load(home / "bot")) == "beside-the-file"

    def test_a_variable_of_the_process_wins_even_an_empty_one(self, home: Path) -> None:
        write(home, "API_KEY=of-the-file\nMODEL=gpt-2")
        loaded = load(home, API_KEY="", MODEL="gpt-3")
        assert (key_of(loaded), loaded.catalog.models["gpt"].upstream) == ("", "gpt-3")

    def test_a_shipped_file_reads_that_of_the_current_directory(self, home: Path) -> None:
        write(home, "ACE_PRIMARY=sonnet")
        (ace,) = (path for path in SHIPPED if path.stem == "ace")
        assert config.load(ace, environ={}, cwd=home).catalog.roles["ace"].chain[0] == "sonnet"

    def test_a_provider_in_it_is_enough_without_any_other_file(self, tmp_path: Path) -> None:
        (tmp_path / ".git").mkdir()
        write(tmp_path, "OPENAI_MODEL=gpt-4.1\nOPENAI_API_KEY=sk-0123456789-abcdefgh\nOPENAI_BASE_URL=localhost:1")
        (problem,) = check(environ={}, cwd=tmp_path)
        assert str(problem) == ".env:3 OPENAI_BASE_URL: must be an address such as http://127.0.0.1:8080."
        write(tmp_path, "OPENAI_MODEL=gpt-4.1\nOPENAI_API_KEY=sk-0123456789-abcdefgh\n")
        loaded = load(tmp_path)
        assert (loaded.source, loaded.catalog.roles["chat"].chain) == (config.ENVIRONMENT, ("gpt-4-1",))
        assert loaded.stamp == config.stamp(loaded.source, tmp_path)

    def test_a_directory_of_that_name_is_no_env_file(self, home: Path) -> None:
        (home / ".env").mkdir()
        assert key_of(load(home)) == ""

    def test_a_link_to_nowhere_of_that_name_is_an_error(self, home: Path) -> None:
        (home / ".env").symlink_to("/mnt/studio/.env")
        (problem,) = check(environ={}, cwd=home)
        assert str(problem) == ".env: it is a link to /mnt/studio/.env, which does not exist. Correct the link."

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_one_that_may_not_be_read_is_an_error(self, home: Path) -> None:
        write(home, "API_KEY=x").chmod(0)
        (problem,) = check(environ={}, cwd=home)
        assert str(problem).startswith(".env: it cannot be read: Permission denied.")

    def test_nothing_else_gets_its_variables(self, home: Path) -> None:
        write(home, "API_KEY=of-the-file")
        load(home)
        assert "API_KEY" not in os.environ


class TestMessages:
    def test_a_wrong_value_is_reported_at_its_line_of_the_env_file_without_it(self, home: Path) -> None:
        (problem,) = problems(home, "\nAPI_URL=hunter2")
        assert problem.startswith("API_URL of .env:2 (read at openfall.yaml:3 backends.api.url): must be an address")
        assert "hunter2" not in problem

    def test_the_origin_of_each_variable_is_named_without_its_value(self, home: Path) -> None:
        write(home, "API_KEY=hunter2\nMODEL=gpt-2")
        loaded = load(home, MODEL="gpt-3", API_URL="")
        assert loaded.origins == {
            "API_KEY": ".env:1",
            "MODEL": "the environment, not .env:2",
            "API_URL": "the environment, empty",
            "REDIS_URL": "not set",
        }
        assert "hunter2" not in config.dump(loaded) + repr(loaded)

    def test_a_file_with_keys_that_every_user_may_read_gets_a_warning_and_works(self, home: Path) -> None:
        write(home, "API_KEY=hunter2").chmod(0o644)
        loaded = load(home)
        assert key_of(loaded) == "hunter2"
        (warning,) = map(str, loaded.warnings)
        assert warning == ".env: every user of this machine can read it, and it has secrets. Run: chmod 600 .env"
        for text in ("MODEL=gpt-2", "API_KEY=", "DISPLAY=:0\nMAIL=a@b.example"):
            write(home, text).chmod(0o644)
            assert load(home).warnings == ()
        write(home, "REDIS_URL=redis://:hunter2@10.0.0.9").chmod(0o644)
        assert len(load(home).warnings) == 1

    def test_the_name_of_the_configuration_does_not_work_there_and_a_warning_says_so(self, home: Path) -> None:
        write(home, "OPENFALL_CONFIG=other.yaml")
        (warning,) = map(str, load(home).warnings)
        assert warning.startswith(".env:1 OPENFALL_CONFIG: it is not read from this file")


def test_a_changed_env_file_changes_the_stamp_and_so_does_a_removed_one(home: Path) -> None:
    file = write(home, "API_KEY=one")
    loaded = load(home)
    assert config.stamp(loaded.source) == loaded.stamp
    write(home, "API_KEY=three")
    changed = config.stamp(loaded.source)
    assert changed != loaded.stamp
    file.unlink()
    assert config.stamp(loaded.source) not in (changed, loaded.stamp)


def test_the_template_is_valid_and_every_line_of_it_can_be_used(home: Path) -> None:
    template = config.ENV_EXAMPLE.read_text("utf-8")
    assert read(home, template) == {}
    lines = [line.removeprefix("# ") for line in template.splitlines()]
    names = {line.partition("=")[0] for line in lines if line.partition("=")[0].replace("_", "").isupper()}
    values = read(home, "\n".join(line for line in lines if line.partition("=")[0] in names))
    assert {"ANTHROPIC_API_KEY", "OPENAI_API_KEY", "REDIS_URL", "DISCORD_WEBHOOK"} <= values.keys()


def test_the_template_names_every_variable_of_the_shipped_files(tmp_path: Path) -> None:
    template = config.ENV_EXAMPLE.read_text("utf-8")
    for path in SHIPPED:
        for name in config.load(path, environ={}, cwd=tmp_path).origins:
            if path.stem != "demo":  # whose variables are for tests of this project
                assert f"# {name}=" in template, (path.name, name)


def test_without_a_file_there_are_no_variables(tmp_path: Path) -> None:
    document = Document(Path(".env"), {})
    assert read_env_file(tmp_path / ".env", document) == EnvFile(Path(".env"))


def test_a_configuration_with_a_broken_env_file_reports_that_alone(home: Path) -> None:
    write(home, "nonsense")
    (home / "openfall.yaml").write_text("redis: ${NOT_SET}")
    with pytest.raises(ConfigError, match=r"^\.env:1: [^\n]*$"):
        load(home)
