"""Which configuration file is read: the path given, the variable, the search upwards, the user's file, the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openfall import config
from openfall.config.paths import DEMO
from tests.config.config_texts import check


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git repository with a configuration at its root, below a directory with another one."""
    root = tmp_path / "outside" / "project"
    (root / "src" / "deep").mkdir(parents=True)
    (root / ".git").mkdir()
    for number, directory in enumerate((tmp_path / "outside", root), start=1):
        (directory / "openfall.yaml").write_text(f"workers: {{slots: {number}}}")
    return root


def source(cwd: Path, **environ: str) -> Path:
    return config.load(environ=environ, cwd=cwd).source


def test_the_file_is_looked_for_upwards(project: Path) -> None:
    assert source(project / "src" / "deep") == project / "openfall.yaml"


def test_the_nearest_file_wins(project: Path) -> None:
    near = project / "src" / "openfall.yaml"
    near.write_text("")
    assert source(project / "src" / "deep") == near


def test_the_search_ends_at_the_git_root(project: Path) -> None:
    (project / "openfall.yaml").unlink()
    assert source(project / "src") == DEMO


def test_the_search_goes_on_where_there_is_no_git(project: Path) -> None:
    (project / "openfall.yaml").unlink()
    (project / ".git").rmdir()
    assert source(project / "src") == project.parent / "openfall.yaml"


def test_a_directory_of_that_name_is_refused(project: Path) -> None:
    (project / "src" / "openfall.yaml").mkdir()
    with pytest.raises(config.ConfigError, match=r"^openfall.yaml: it is a directory\. Remove it"):
        source(project / "src")


def test_a_link_to_a_file_that_is_gone_is_reported_and_the_demo_does_not_run_in_its_place(project: Path) -> None:
    (project / "src" / "openfall.yaml").symlink_to("/mnt/studio/openfall.yaml")
    with pytest.raises(config.ConfigError) as caught:
        source(project / "src")
    text = "openfall.yaml: it is a link to /mnt/studio/openfall.yaml, which does not exist. Correct the link."
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["openfall.yml", "openfall.yaml.txt", "Openfall.yaml", "openfall.json"])
def test_a_file_with_a_name_like_that_is_refused(project: Path, name: str) -> None:
    (project / "src" / name).write_text("")
    with pytest.raises(config.ConfigError) as caught:
        source(project / "src" / "deep")
    remedy = "Rename it to openfall.yaml, or name it with --config or $OPENFALL_CONFIG."
    assert str(caught.value) == f"{project / 'src' / name}: a file of this name is not read. {remedy}"
    assert source(project / "src", OPENFALL_CONFIG=name) == project / "src" / name


TOML = ['data = "state"\n[pools.gpu]\nlocal = true\n', 'data = "state"\nredis = "embedded"\n']


@pytest.mark.parametrize("text", TOML, ids=["sections", "keys alone"])
def test_toml_is_named_as_what_it_is_also_where_the_variable_names_the_file(project: Path, text: str) -> None:
    file = project / "src" / "openfall.toml"
    file.write_text(text)
    with pytest.raises(config.ConfigError, match=r"openfall\.toml: this is TOML; openfall reads YAML\. Write it as "):
        source(project / "src" / "deep")
    with pytest.raises(config.ConfigError, match=r"this is TOML; openfall reads YAML\. Write it as YAML"):
        config.load(file, environ={})


def test_a_file_with_a_name_like_that_is_ignored_beside_the_right_one_and_above_it(project: Path) -> None:
    (project / "openfall.yml").write_text("")
    (project.parent / "openfall.yml").write_text("")
    assert source(project / "src") == project / "openfall.yaml"


def test_the_variable_wins_over_the_search(project: Path) -> None:
    assert source(project, OPENFALL_CONFIG="../openfall.yaml").samefile(project.parent / "openfall.yaml")


def test_a_message_in_the_root_directory_keeps_the_slash_of_a_path(project: Path) -> None:
    (project / "openfall.yaml").write_text("gateways: {}")
    problems = check(environ={"OPENFALL_CONFIG": str(project / "openfall.yaml")}, cwd=Path("/"))
    assert str(problems[0]).startswith(f"{project}/openfall.yaml:1: unknown key")


@pytest.mark.parametrize("name", ["OPENFALL_CONFG", "OPENFALL_CONFIGS", "OPENFAL_CONFIG", "OPENFALL_CONFIf"])
def test_a_misspelt_variable_is_refused_and_not_passed_over(project: Path, name: str) -> None:
    (problem,) = check(environ={name: "fleet.yaml"}, cwd=project)
    assert str(problem) == (
        f"the environment {name}: a variable of this name is not read. Rename it to OPENFALL_CONFIG, or unset it."
    )
    assert source(project, **{name: "x", "OPENFALL_CONFIG": str(project / "openfall.yaml")}).name == "openfall.yaml"
    assert source(project, OPENFALL_PORT="1", OPENFALL_CONFIG_DIR="x", OPENFALL_CONTEXT="x").name == "openfall.yaml"


def test_an_empty_variable_is_none(project: Path) -> None:
    assert source(project, OPENFALL_CONFIG="") == project / "openfall.yaml"


def test_a_given_path_wins_over_the_variable(project: Path) -> None:
    configuration = config.load(Path("openfall.yaml"), environ={"OPENFALL_CONFIG": "no.yaml"}, cwd=project)
    assert configuration.source == project / "openfall.yaml"


def test_a_variable_that_names_no_file_is_reported_and_not_ignored(project: Path) -> None:
    (problem,) = check(environ={"OPENFALL_CONFIG": "no.yaml"}, cwd=project)
    assert str(problem).startswith("no.yaml: there is no such file.")


@pytest.mark.parametrize("variable", ["HOME", "USERPROFILE"])
def test_the_file_of_the_user_comes_before_the_demo(tmp_path: Path, variable: str) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    own = home / ".config" / "openfall" / "openfall.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("")
    (cwd / ".git").mkdir(parents=True)
    assert source(cwd, **{variable: str(home)}) == own


def test_the_demo_is_the_last_and_keeps_its_data_where_it_is_run(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    configuration = config.load(environ={}, cwd=tmp_path)
    assert configuration.source == DEMO
    assert configuration.settings.data_dir == tmp_path / ".openfall"


def test_the_demo_under_its_own_name_is_still_the_demo(tmp_path: Path) -> None:
    named = DEMO.parent / ".." / "config" / "demo.yaml"
    assert config.load(named, environ={}, cwd=tmp_path).settings.data_dir == tmp_path / ".openfall"


def test_the_environment_and_directory_of_the_process_are_the_default(project: Path) -> None:
    code = "from openfall import config; print(config.load().source)"
    environ = {**os.environ, "OPENFALL_CONFIG": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environ, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == project / "openfall.yaml"


def test_links_in_a_circle_and_a_file_without_an_end_are_reported(project: Path) -> None:
    (project / "a.yaml").symlink_to("b.yaml")
    (project / "b.yaml").symlink_to("a.yaml")
    with pytest.raises(config.ConfigError, match=r"^a\.yaml: it cannot be read: Too many levels of symbolic links\."):
        config.load(Path("a.yaml"), environ={}, cwd=project)
    with pytest.raises(config.ConfigError, match=r"^/dev/zero: it has more than 10,000,000 bytes\. Name a conf"):
        config.load(Path("/dev/zero"), environ={}, cwd=project)
