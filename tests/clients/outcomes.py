"""What the checks of a client report, in three forms of output."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tests.clients.environments import Client

_PYTEST_LINE = re.compile(r"^(PASSED|FAILED|ERROR) \S*?::(\S+)(?: - (.*))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended. `why`: it failed. `skipped`: why it did not run."""

    check: str
    why: str = ""
    skipped: str = ""

    @property
    def text(self) -> str:
        if self.skipped:
            return f"skipped: {self.skipped}"
        return f"FAILED: {self.why}" if self.why else "ok"


def outcomes_of(client: Client, output: str, status: int) -> list[Outcome]:
    """The outcomes in the output of a client. One that reports nothing, or ends badly, has failed."""
    match client.reports:
        case "pytest":
            outcomes = _of_pytest(client, output)
        case "exit":
            return [Outcome("all", f"exit status {status}: see {client.home / 'output.log'}" if status else "")]
        case _:
            lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"check"')]
            outcomes = [Outcome(line["check"], line["why"]) for line in lines]
            if status:
                outcomes.append(Outcome("exit", f"status {status}: {output.strip().splitlines()[-1:]}"))
    return outcomes or [Outcome("all", f"reported nothing: see {client.home / 'output.log'}")]


def _of_pytest(client: Client, output: str) -> list[Outcome]:
    """The failed tests, and how many passed. Those that are known not to apply are skipped, in words."""
    ends = _PYTEST_LINE.findall(output)
    passed = [name for word, name, _ in ends if word == "PASSED"]
    failed = {name: why or word for word, name, why in ends if word != "PASSED"}
    outcomes = [Outcome(f"{len(passed)} standard tests")] if passed else []
    for name, why in failed.items():
        reason = NOT_OURS.get((client.name, name), "")
        outcomes.append(Outcome(name, "" if reason else why, reason))
    return outcomes


NOT_OURS: dict[tuple[str, str], str] = {
    ("langchain", "TestChatOpenAI::test_unicode_tool_call_integration"): "it wants an answer in Chinese",
    ("langchain-anthropic", "TestChatAnthropic::test_unicode_tool_call_integration"): "it wants an answer in Chinese",
    ("langchain-ollama", "TestChatOllama::test_unicode_tool_call_integration"): "it wants an answer in Chinese",
    ("langchain-ollama", "TestChatOllama::test_stream_time"): "it replays a recording that LangChain keeps to itself",
}
"""Standard tests that a scripted provider cannot pass, and why."""
