"""Every kind of mistake in tasks, groups, policies and prices is reported with line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from openfall import config
from tests.config.config_texts import check_section


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{chain: [coder], pattern: '(a'}", ".pattern: not a regular expression: missing ), unterminated subpattern."),
        ("{chain: [coder], ensemble: {answers: 2}}", ".ensemble.answers: 2 answers from a chain of 1."),
        ("{chain: [coder], ensemble: {answers: 1}}", ".ensemble.answers: must be 2 or more."),
        ("{chain: [coder], ensemble: {answer: 2}}", '.ensemble: unknown key "answer". Did you mean "answers"?'),
        ("{chain: [coder], ensemble: yes}", ".ensemble: must be a mapping of keys to values, not a single value."),
        ("{chain: [coder, small], ensemble: {pick: judge}}", ".ensemble: it has no judge: name a model as its judge."),
        (
            "{chain: [coder, small], ensemble: {pick: judge, judge: haikou}}",
            '.ensemble.judge: unknown model "haikou". Did you mean "haiku"?',
        ),
        (
            "{chain: [coder, small], ensemble: {pick: jugde}}",
            '.ensemble.pick: unknown pick "jugde". Did you mean "judge"?',
        ),
        (
            "{chain: [coder, small], local_only: yes, ensemble: {pick: judge, judge: haiku}}",
            ".ensemble.judge: its jobs may only go to local models, and this one is not.",
        ),
        (
            "{chain: [haiku], local_only: yes}",
            ".chain: its jobs may only go to local models, and none of these is one.",
        ),
        ("{chain: [coder], checks: [jsn]}", '.checks: unknown check "jsn". Did you mean "json"?'),
        ("{chain: [coder], checks: json}", ".checks: must be a list, not a single value. Put it into brackets: [one]."),
        ("{chain: [coder], order: by_urgncy}", '.order: unknown order "by_urgncy". Did you mean "by_urgency"?'),
        ("{chain: [coder], local_only: maybe}", '.local_only: must be yes or no, not "maybe".'),
    ],
)
@pytest.mark.parametrize("section", ["roles", "tasks"])
def test_a_mistake_in_a_role_or_task_is_reported(tmp_path: Path, section: str, line: str, message: str) -> None:
    assert check_section(tmp_path, f"{section}: {{best: {line}}}") == [f"1 {section}.best{message}"]


def test_a_fault_in_an_ensemble_is_reported_on_its_own_line(tmp_path: Path) -> None:
    text = """
    roles:
      best:
        chain: [coder, small]
        ensemble:
          pick: agreement
          judge: haiku
    """
    assert check_section(tmp_path, text) == [
        "6 roles.best.ensemble.judge: the pick is by agreement, so no model judges: write pick: judge."
    ]


def test_a_chain_that_lost_a_model_to_a_mistake_is_not_also_too_short(tmp_path: Path) -> None:
    assert check_section(tmp_path, "roles: {best: {chain: [coder, smal], ensemble: {answers: 2}}}") == [
        '1 roles.best.chain: unknown model "smal". Did you mean "small"?'
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: {code: {words: [write]}}", '1 tasks.code: "chain" is missing. Add chain: to it.'),
        (
            "tasks: {code: {chain: [coder], words: [yes]}}",
            '1 tasks.code.words: must be text, but "yes" without quotes is one of the words that YAML reads as true '
            "or false. Put it in quotes.",
        ),
        (
            "tasks: {coder: {chain: [coder, small]}}",
            "1 tasks.coder: a model has the same name: callers could mean either.",
        ),
        (
            "tasks: {default: {chain: [coder]}}",
            "1 tasks.default: 'default' is the quality of every other task, and cannot name one.",
        ),
        (
            "roles: {code: {chain: [coder], words: [a]}}",
            '1 roles.code: unknown key "words". Did you mean "order"?',
        ),
    ],
)
def test_a_mistake_in_a_task_is_reported(tmp_path: Path, text: str, message: str) -> None:
    assert check_section(tmp_path, text) == [message]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("cod", 'unknown role or task "cod". Did you mean "code"?'),
        ("coder", 'unknown role or task "coder". Did you mean "code"?'),
        ("[code]", "must be a single value, not a list."),
    ],
)
def test_a_default_that_is_no_role_and_no_task_is_reported(tmp_path: Path, written: str, message: str) -> None:
    text = f"default: {written}\ntasks: {{code: {{chain: [coder]}}}}"
    assert check_section(tmp_path, text) == [f"1 default: {message}"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("roles: {chat: {chain: [vendor/x]}}", '1 roles.chat.chain: unknown model "vendor/x". Did you mean "coder"?'),
        ("default: script", '1 default: unknown role or task "script". Did you mean "code"?'),
        (
            "groups: [{name: a, match: ['*'], task: script}]",
            '1 groups.a.task: unknown task "script". Did you mean "code"?',
        ),
    ],
)
def test_a_name_that_means_another_is_reported_with_it(tmp_path: Path, line: str, message: str) -> None:
    text = f"{line}\ntasks: {{code: {{chain: [coder], aliases: [script]}}}}"
    assert check_section(tmp_path, text) == [message]


def test_an_alias_that_cannot_be_a_name_is_reported(tmp_path: Path) -> None:
    assert check_section(tmp_path, "tasks: {code: {chain: [coder], aliases: [Erd!]}}")[0].startswith(
        '1 tasks.code.aliases: "Erd!" cannot be a name.'
    )


def test_a_role_and_a_task_of_one_name_are_reported_at_the_task(tmp_path: Path) -> None:
    assert check_section(tmp_path, "roles: {code: {chain: [coder]}}\ntasks:\n  code: {chain: [coder]}") == [
        "3 tasks.code: a role has the same name: callers could mean either."
    ]


class TestGroups:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ("name: main", '1 groups.main: "match" is missing. Add match: to it.'),
            ("match: [a]", '1 groups.1: "name" is missing. Add name: to it.'),
            ("name: main, match: []", "1 groups.main.match: must not be empty."),
            (
                "name: main, match: a",
                "1 groups.main.match: must be a list, not a single value. Put it into brackets: [one].",
            ),
            (
                "name: Main, match: [a]",
                '1 groups.Main.name: "Main" cannot be a name. A name has small letters, digits, - and _, '
                "begins with a letter or digit, and has at most 63 of them.",
            ),
            ("name: main, match: [a], rol: x", '1 groups.main: unknown key "rol". Did you mean "role"?'),
            ("name: main, match: [a], role: chta", '1 groups.main.role: unknown role "chta". Did you mean "chat"?'),
            ("name: main, match: [a], task: cod", '1 groups.main.task: unknown task "cod". Did you mean "code"?'),
            (
                "name: main, match: [a], chain: [smal]",
                '1 groups.main.chain: unknown model "smal". Did you mean "small"?',
            ),
            (
                "name: main, match: [a], role: chat, chain: [coder]",
                "1 groups.main: it names a role and a chain: only one of them can choose the models.",
            ),
            (
                "name: main, match: [a], daily_usd: 5",
                "7 models.haiku: a budget needs the limit of an answer whose request has none: set max_tokens.",
            ),
            ("name: main, match: [a], urgency: now", '1 groups.main.urgency: unknown urgency "now".'),
            (
                "name: main, match: [a], chain: [haiku], local_only: yes",
                "1 groups.main.chain: its jobs may only go to local models, and none of these is one.",
            ),
        ],
    )
    def test_a_mistake_in_a_group_is_reported(self, tmp_path: Path, fields: str, message: str) -> None:
        text = f"groups: [{{{fields}}}]\nroles: {{chat: {{chain: [coder]}}}}\ntasks: {{code: {{chain: [coder]}}}}"
        (problem,) = check_section(tmp_path, text)
        assert problem.startswith(message)

    def test_an_unreachable_pattern_is_reported_at_its_line(self, tmp_path: Path) -> None:
        text = """
        groups:
          - name: all
            match: ["*"]
          - name: main
            match: ["whatsapp:main"]
        """
        assert check_section(tmp_path, text) == [
            "5 groups.main.match: 'whatsapp:main' never matches: group 'all' comes first and matches '*'."
        ]

    def test_a_second_group_of_one_name_is_reported_at_its_line(self, tmp_path: Path) -> None:
        text = """
        groups:
          - {name: main, match: [a]}
          - {name: main, match: [b]}
        """
        assert check_section(tmp_path, text) == [
            '3 groups.main: another group is called "main". Give each a name of its own.'
        ]

    def test_groups_are_a_list(self, tmp_path: Path) -> None:
        assert check_section(tmp_path, "groups: {main: {match: [a]}}") == [
            "1 groups: must be a list, not a mapping. Write it as [one, two]."
        ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("quality: {cod: 0.5}", 'quality.cod: unknown task "cod". Did you mean "code"?'),
        ("quality: {code: 1.5}", "quality.code: must be 1 or less."),
        ("quality: {code: good}", 'quality.code: must be a number such as 0.5, not "good".'),
        ("quality: 0.5", "quality: must be a mapping of keys to values, not a single value."),
        (
            "usd_per_mtok: {input: 1}",
            'usd_per_mtok: unknown key "input". Known: above, batch, cache_read, cache_write, cache_write_1h, flex, '
            "in, out, priority, request, web_search.",
        ),
        ("usd_per_mtok: {above: {in: 1}}", 'usd_per_mtok.above: "tokens" is missing. Add tokens: to it.'),
        ("usd_per_mtok: {in: -1}", "usd_per_mtok.in: must be 0 or more."),
        ("usd_per_mtok: {in: free}", 'usd_per_mtok.in: must be a number such as 0.5, not "free".'),
        ("vram_gb: 0", "vram_gb: must be more than 0."),
        ("load_time: soon", 'load_time: must be a duration such as 500ms, 5s, 2m, 24h or 7d, not "soon".'),
        ("tools: maybe", 'tools: must be yes or no, not "maybe".'),
    ],
)
def test_a_mistake_in_the_abilities_of_a_model_is_reported(tmp_path: Path, fields: str, message: str) -> None:
    base = '\nbackends: {tower: {url: "http://127.0.0.1:1", pool: gpu}}\ntasks: {code: {chain: [m]}}'
    assert check_section(tmp_path, f"models: {{m: {{upstream: x, backends: [tower], {fields}}}}}", base=base) == [
        f"1 models.m.{message}"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "breakers: {consecutive_failure: 5}",
            '1 breakers: unknown key "consecutive_failure". Did you mean "consecutive_failures"?',
        ),
        ("breakers: {consecutive_failures: 0}", "1 breakers.consecutive_failures: must be 1 or more."),
        ("breakers: {failure_rate: 2}", "1 breakers.failure_rate: must be 1 or less."),
        (
            "breakers: {open_for: 1h}",
            "1 breakers.open_for_max: 600 s is shorter than open_for, which is 3600 s.",
        ),
        ("retry: {max_retries: 11}", "1 retry.max_retries: must be 10 or less."),
        ("retry: {initial_backoff: 2m}", "1 retry.max_backoff: 60 s is shorter than initial_backoff, which is 120 s."),
        (
            "urgency: {batch: {allow_cloud: maybe}}",
            '1 urgency.batch.allow_cloud: must be yes, no or when_late, not "maybe".',
        ),
        ("privacy: {local_only: perhaps}", '1 privacy.local_only: must be yes or no, not "perhaps".'),
    ],
)
def test_a_mistake_in_a_policy_is_reported(tmp_path: Path, line: str, message: str) -> None:
    assert check_section(tmp_path, line) == [message]


class TestAddresses:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ("pool: cloud", ': "url" is missing. Add url: to it.'),
            (
                "protocol: openai, pool: gpu",
                ': pool "gpu" is local, but api.openai.com is not a machine of yours. '
                "Put it into a pool that is not local, or write the address of a machine of yours.",
            ),
            (
                "protocol: openai, pool: gpu, url: https://openrouter.ai/api/v1",
                '.url: pool "gpu" is local, but openrouter.ai is not a machine of yours. '
                "Put it into a pool that is not local, or write the address of a machine of yours.",
            ),
            ("protocol: openai, pool: gpu, embedded: yes", ': "url" is missing. Add url: to it.'),
            (
                "protocol: ollama, pool: gpu, embedded: yes, url: http://127.0.0.1:1",
                ".protocol: an embedded engine does not support ollama. Write openai.",
            ),
            (
                "protocol: openai, pool: gpu, url: http://a, billing: metred",
                '.billing: unknown billing "metred". Did you mean',
            ),
        ],
    )
    def test_a_mistake_is_reported(self, tmp_path: Path, fields: str, message: str) -> None:
        (problem,) = check_section(tmp_path, f"backends: {{far: {{{fields}}}}}", base="")
        assert problem.startswith(f"1 backends.far{message}")

    @pytest.mark.parametrize(
        ("protocol", "pool", "url"),
        [
            ("anthropic", "cloud", "https://api.anthropic.com"),
            ("openai", "cloud", "https://api.openai.com/v1"),
            ("ollama", "gpu", "http://127.0.0.1:11434"),
        ],
    )
    def test_a_protocol_alone_means_its_usual_address(self, tmp_path: Path, protocol: str, pool: str, url: str) -> None:
        file = tmp_path / "openfall.yaml"
        file.write_text(f"backends: {{far: {{protocol: {protocol}, pool: {pool}}}}}")
        assert config.load(file, environ={}, cwd=tmp_path).catalog.backends["far"].url == url


def test_every_problem_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    text = """
    roles:
      best: {chain: [coder, small], pattern: "(", ensemble: {answers: 3}}
    tasks:
      best: {chain: [codr]}
      code: {chain: [coder], checks: [jsn], words: [no]}
    groups:
      - {name: all, match: ["*"], role: bst}
      - {name: main, match: [a], role: best, task: code, daily_usd: -1}
    urgency: {batch: {allow_cloud: maybe}}
    breakers: {consecutive_failures: none}
    retry: {max_retries: 99}
    """
    assert [line.partition(": ")[0] for line in check_section(tmp_path, text)] == [
        "2 roles.best.pattern",
        "2 roles.best.ensemble.answers",
        "4 tasks.best.chain",
        "5 tasks.code.checks",
        "5 tasks.code.words",
        "7 groups.all.role",
        "8 groups.main.daily_usd",
        "8 groups.main",
        "8 groups.main.match",
        "9 urgency.batch.allow_cloud",
        "10 breakers.consecutive_failures",
        "11 retry.max_retries",
    ]
