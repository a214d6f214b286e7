from __future__ import annotations

import pytest

from openfall.router_core.routing.pasted_material import MAX_END_CHARS, instruction

ASKED = "Please look at this"

CODE = {
    "a fenced block": "```python\nwhy = review()\n```",
    "a fence that is never closed": "~~~\nwhy = review()",
    "Python": "class Store:\n    def why(self):\n        # review\n        return 1\n\nx = why(1)\nimport review",
    "JavaScript": "export function why(a) {\n  review(a);\n}\nconst review = 1;",
    "SQL": "SELECT why FROM review;",
    "HTML": "<div class='why'>\n<p>review</p>",
    "a diff": "diff --git a/why b/why\n@@ -1 +1 @@\n-why\n+review",
    "a traceback": "Traceback (most recent call last):\n  File \"why.py\", line 3, in review\n    x\nKeyError: 'why'",
    "a stack of JavaScript": "TypeError: why is undefined\n    at review (/why.js:1:2)",
    "a log": "2026-01-02 10:11:12 why\n[ERROR] review",
    "a shell": "$ why review\n#!/bin/why",
    "an indented block": "    why review",
}


@pytest.mark.parametrize("kind", CODE)
@pytest.mark.parametrize("order", ["{code}\n\n{asked}", "{asked}\n{code}"])
def test_code_and_output_are_no_instruction(kind: str, order: str) -> None:
    if "never" in kind and order.startswith("{code}"):
        return
    written, has_code = instruction(order.format(asked=ASKED, code=CODE[kind]))
    assert (written.strip(), has_code) == (ASKED, True)


QUOTES = {
    "a quoted mail": "> why\n> review",
    "a mail": "From: Ann\nSubject: why\n\nDear Tom, review it.\n\nAnn",
    "an answered mail": "On Monday, Ann Lee wrote:\nreview it, why?",
    "an original message": "-----Original Message-----\nwhy review",
    "quoted text": '"why should I review it"',
    "text in three marks": '"""\nwhy\n\nreview\n"""',
    "text in Japanese marks": "「why review」",
}


@pytest.mark.parametrize("kind", QUOTES)
def test_quoted_text_is_no_instruction(kind: str) -> None:
    written, has_code = instruction(f"{ASKED}\n\n{QUOTES[kind]}")
    assert (written.strip(), has_code) == (ASKED, False)


def test_what_follows_a_mail_is_the_instruction() -> None:
    assert instruction(f"From: Ann\nSubject: why\n\nreview it\n\n{ASKED}")[0] == ASKED


@pytest.mark.parametrize(
    "text",
    [
        "Function that adds two numbers",
        "class diagram of our shop",
        "Return to the first idea, please.",
        "If it rains and the street is wet, what follows?\nExplain:",
        "Please:\n- review it\n    - and explain it\n1. then write",
        'Define "serendipity"',
        "import my contacts into the app\nwith love",
        "SELECT is slow, why?",
        "update me\non everything",
    ],
)
def test_prose_is_an_instruction_as_a_whole(text: str) -> None:
    assert instruction(text) == (text, False)


def test_the_tail_of_a_long_block_of_code_is_code() -> None:
    block = "```\n" + "why review\n" * MAX_END_CHARS + "```\n"
    assert instruction(f"{ASKED}\n{block}now")[0].split() == [*ASKED.split(), "now"]


HOSTILE = [
    *(
        mark * 8000
        for mark in ('"', "(", "\n", "a=", "```", "> ", "“ ", "if (", "public ", "class a ", "SELECT ", "a (\n")
    ),
    "From: x\n" * 1000,
    "on " + "a " * 4000 + "\n",
    "import " + "a" * 7000 + "!\n",
    "return " + "a" * 7000 + "!\n",
    ("x" * 100 + "(") * 80,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_messages_are_read_without_backtracking(text: str) -> None:
    assert len(instruction(text)[0]) <= len(text)  # a pattern that backtracks would not end
