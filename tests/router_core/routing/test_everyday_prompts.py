"""Everyday prompts are classified as a person would mean them, by the words of the shipped files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from openfall import config
from openfall.config.paths import SHIPPED
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.jobs.request_body import user_texts
from openfall.router_core.routing.classify_by_words import classify

PROMPTS = Path(__file__).parent / "prompts"
LIGHT = {"echo-brain": "simple", "artifacts": ""}
"""What a prompt without any word gets."""


def catalog(name: str) -> Catalog:
    return config.load(next(path for path in SHIPPED if path.stem == name), environ={}).catalog


def body(prompt: str | list[str]) -> dict[str, Any]:
    """The request body of one message, or of a conversation with an answer after each message but the last."""
    texts = [prompt] if isinstance(prompt, str) else prompt
    messages = [
        {"role": role, "content": content}
        for text in texts
        for role, content in (("user", text), ("assistant", "Here: why, review, story, diagram, jira."))
    ]
    return {"messages": messages[:-1]}


def misread(name: str, file: str) -> tuple[list[str], int]:
    """The prompts of a file that are classified otherwise than meant; and how many prompts it has."""
    tasks = catalog(name).tasks
    wrong, count = [], 0
    for task, prompts in yaml.safe_load((PROMPTS / file).read_text("utf-8")).items():
        for prompt in prompts:
            match = classify(user_texts(body(prompt)), tasks)
            count += 1
            if (match.task if match else LIGHT[name]) != task:
                wrong.append(f"{task}, not {match.task if match else 'no task'}: {prompt}")
    return wrong, count


@pytest.mark.parametrize(
    ("name", "file"), [("echo-brain", "echo_brain.yaml"), ("artifacts", "artifacts.yaml")], ids=["echo", "artifacts"]
)
def test_everyday_prompts_are_classified_as_a_person_means_them(name: str, file: str) -> None:
    assert misread(name, file)[0] == []


@pytest.mark.parametrize(
    ("name", "file"),
    [("echo-brain", "echo_brain_held_out.yaml"), ("artifacts", "artifacts_held_out.yaml")],
    ids=["echo", "artifacts"],
)
def test_of_prompts_that_no_word_was_chosen_for_nine_in_ten_are_classified_as_meant(name: str, file: str) -> None:
    wrong, count = misread(name, file)
    assert len(wrong) <= count / 10, wrong


@pytest.mark.parametrize("name", ["echo-brain", "artifacts"])
def test_every_task_of_the_shipped_files_has_words_of_its_own(name: str) -> None:
    for task_name, task in catalog(name).tasks.items():
        others = {word for other, spec in catalog(name).tasks.items() if other != task_name for word in spec.words}
        assert set(task.words) - others, task_name


def task_of(name: str, prompt: str | list[str]) -> str | None:
    match = classify(user_texts(body(prompt)), catalog(name).tasks)
    return match and match.task


def test_the_instruction_counts_more_than_pasted_code() -> None:
    code = "class Store:\n    def create(self, function):\n        return write(function)"
    for pasted in (f"```python\n{code}\n```", code):
        assert task_of("echo-brain", f"review:\n\n{pasted}") == "code_review"
        assert task_of("echo-brain", f"{pasted}\n\nExplain this") == "reasoning"


def test_anime_prompts_are_creative() -> None:
    assert task_of("echo-brain", "Generate anime character description") == "creative"
    assert task_of("echo-brain", "Write the scene in which Haruka lights the lanterns") == "creative"


def test_a_follow_up_without_words_keeps_the_task_of_its_conversation() -> None:
    assert task_of("echo-brain", ["Write a story about a dragon", "and now shorter", "better. one more?"]) == "creative"
    assert task_of("artifacts", ["Draw a mermaid flowchart", "swap the boxes"]) == "mermaid"


def test_a_follow_up_with_words_of_its_own_changes_the_task() -> None:
    assert task_of("echo-brain", ["Write a story about a dragon", "Review my code"]) == "code_review"


def test_a_jira_task_about_documentation_is_jira() -> None:
    assert task_of("artifacts", "JIRA task: add documentation") == "jira"
