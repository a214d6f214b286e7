"""What the documents say is so: links lead somewhere, tables are complete, the README's configuration can be used."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from openfall import config
from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS
from openfall.router_core.state import keys
from openfall.router_core.vocabulary import ErrorClass, HoldReason

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), link


def test_a_number_names_one_decision_and_its_title_has_the_same_number() -> None:
    decisions = sorted((ROOT / "docs/adr").glob("*.md"))
    numbers = [int(decision.name[:4]) for decision in decisions]
    assert numbers == list(range(1, len(decisions) + 1))
    titles = [decision.read_text("utf-8").splitlines()[0] for decision in decisions]
    assert [title.split(".")[0] for title in titles] == [f"# {number}" for number in numbers]


def test_every_key_in_redis_is_described() -> None:
    actual = text("docs/redis.md")
    for name, key in vars(keys).items():
        if name.isupper() and isinstance(key, str):
            assert key in actual, name


def test_the_configuration_in_the_readme_can_be_used(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```yaml\n(.*?)```", text("README.md"), re.DOTALL)
    file = tmp_path / "openfall.yaml"
    file.write_text(snippet, "utf-8")
    loaded = config.load(file, environ={}, cwd=tmp_path)
    assert loaded.catalog.roles["worker"].chain == ("coder", "haiku")


def test_the_decisions_page_has_a_row_for_every_error_class() -> None:
    actual: dict[str, tuple[bool, bool]] = {}
    for names, next_, again in re.findall(
        r"^\| (`.*?) \| .*? \| (yes|no) \| (yes|no) \|$", text("docs/decisions.md"), re.M
    ):
        actual.update({name: (next_ == "yes", again == "yes") for name in re.findall(r"`(\w+)`", names)})
    meant = {
        str(error): (disposition.try_next_model, disposition.try_same_again)
        for error, disposition in DISPOSITIONS.items()
    }
    assert actual == meant
    assert set(actual) == {str(error) for error in ErrorClass}


def test_every_reason_to_hold_a_job_is_explained() -> None:
    assert all(f"| `{reason}` |" in text("docs/states.md") for reason in HoldReason)


def test_the_contributing_guide_names_modules_that_exist() -> None:
    for path in re.findall(r"`([\w./]+\.py)`", text("CONTRIBUTING.md")):
        assert (ROOT / path).exists() or "NAME" in path or list(ROOT.glob(f"**/{path}")), path


def test_the_version_has_its_section_in_the_changelog() -> None:
    version = tomllib.loads(text("pyproject.toml"))["project"]["version"]
    assert re.search(
        rf"^## \[{re.escape(version)}\] - (unreleased|\d{{4}}-\d\d-\d\d)$", text("CHANGELOG.md"), re.MULTILINE
    )


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len(text("README.md").splitlines()) <= 100
