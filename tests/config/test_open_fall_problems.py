"""Every kind of mistake in `open_fall` and `webhooks` is reported with its line and remedy."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from tests.config.config_texts import check_section

NO_DISCORD = (
    "must be the address of a Discord webhook, https://discord.com/api/webhooks/ID/TOKEN. "
    "In Discord: Edit Channel, Integrations, Webhooks, Copy Webhook URL."
)
NO_HOOK = (
    "must be an address such as https://ops.example.com/hooks/openfall, without user and password. "
    "Put a token into its path: the path is never shown."
)
NO_SECRET = (
    "must be whsec_ and 24 to 64 bytes in base64, or at least 16 characters of any text. "
    "Make one: echo whsec_$(openssl rand -base64 32)"
)
NO_HOST = (
    'must be a host or host:port, or a shell pattern of one, not "{}". For example hooks.example.com or *.example.com.'
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("interactve: [hold]", ': unknown key "interactve". Did you mean "interactive"?'),
        ("replay: yes", ': unknown key "replay".'),
        ("default: [hodl]", '.default: unknown remedy "hodl". Did you mean "hold"?'),
        ("default: [canned_reply, hodl]", '.default: unknown remedy "hodl". Did you mean "hold"?'),
        ("default: hold", ".default: must be a list, not a single value. Put it into brackets: [one]."),
        ("default_fallbacks: [smal]", '.default_fallbacks: unknown model "smal". Did you mean "small"?'),
        ("default_fallbacks: []", ".default_fallbacks: the list is empty. Name at least one model."),
        ("canned_reply: ''", ".canned_reply: must not be empty."),
        ("last_answer_ttl: 0", ".last_answer_ttl: must be more than 0."),
        ("release: {initial: 0}", ".release.initial: must be 1 or more."),
        ("release: {max: 0}", ".release.max: must be 1 or more."),
        ("release: {intial: 1}", '.release: unknown key "intial". Did you mean "initial"?'),
        ("release: 3", ".release: must be a mapping of keys to values, not a single value."),
        (
            "notify: {slack: x}",
            '.notify: unknown key "slack". Known: actions, discord, on_recovery, rate_limit, webhook.',
        ),
        ("notify: {rate_limit: 0 per 1m}", '.notify.rate_limit: must be a rate such as 1 per 10m, not "0 per 1m".'),
        ("notify: {on_recovery: perhaps}", '.notify.on_recovery: must be yes or no, not "perhaps".'),
    ],
)
def test_a_mistake_in_the_section_is_reported(tmp_path: Path, fields: str, message: str) -> None:
    (problem,) = check_section(tmp_path, f"open_fall: {{{fields}}}")
    assert problem.startswith(f"1 open_fall{message}")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ("{interactive: [default_fallback]}", "1 open_fall.interactive"),
        ("{default: [default_fallback]}", "1 open_fall.default"),
        ("{default: [default_fallback], interactive: [hold]}", "1 open_fall.default"),
        ("{batch: []}", "1 open_fall.batch"),
        ("\n  default: [hold]\n  batch: [default_fallback]\n", "3 open_fall.batch"),
    ],
)
def test_a_list_without_an_end_is_reported_where_it_is_written(tmp_path: Path, fields: str, place: str) -> None:
    assert check_section(tmp_path, f"open_fall: {fields}") == [
        f"{place}: it must end in one of canned_reply, hold, fail: the others are not always available."
    ]


def test_an_order_that_cannot_be_is_reported(tmp_path: Path) -> None:
    assert check_section(tmp_path, "roles: {bot: {chain: [coder], open_fall: [hold, canned_reply]}}") == [
        "1 roles.bot.open_fall: canned_reply is never reached: hold comes first, and is always available."
    ]


@pytest.mark.parametrize("section", ["open_fall: {{{}}}", "roles: {{bot: {{chain: [coder], {}}}}}",
                                     "tasks: {{bot: {{chain: [coder], {}}}}}"])  # fmt: skip
def test_a_canned_reply_is_no_more_than_a_message(tmp_path: Path, section: str) -> None:
    assert check_section(tmp_path, section.format(f"canned_reply: {'é' * 4096}")) == []
    (problem,) = check_section(tmp_path, section.format(f"canned_reply: {'é' * 4097}"))
    assert problem.startswith("1 ")
    assert problem.endswith(".canned_reply: must have no more than 4,096 characters.")


@pytest.mark.parametrize("section", ["roles", "tasks"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("open_fall: [hodl]", '.open_fall: unknown remedy "hodl". Did you mean "hold"?'),
        ("canned_reply: ''", ".canned_reply: must not be empty."),
    ],
)
def test_a_mistake_in_a_role_or_task_is_reported(tmp_path: Path, section: str, fields: str, message: str) -> None:
    assert check_section(tmp_path, f"{section}: {{bot: {{chain: [coder], {fields}}}}}") == [f"1 {section}.bot{message}"]


@pytest.mark.parametrize(
    "url",
    [
        "discord",
        "http://discord.com/api/webhooks/1/t",
        "http://10.0.0.1/api/webhooks/1/t",
        "https://discord.com/api/webhooks/1",
        "https://discord.com/api/webhooks/1/",
        "https://discord.com/api/webhooks/one/t",
        "https://discord.com/api/webhooks/1/t/slack",
        "https://discord.com/channels/1/2",
        "https://user@discord.com/api/webhooks/1/t",
        "https:///api/webhooks/1/t",
        "https://discord.com:x/api/webhooks/1/t",
    ],
)
def test_a_wrong_discord_webhook_is_reported_with_where_to_find_one(tmp_path: Path, url: str) -> None:
    assert check_section(tmp_path, f"open_fall:\n  notify:\n    discord: '{url}'") == [
        f"3 open_fall.notify.discord: {NO_DISCORD}"
    ]


@pytest.mark.parametrize("url", ["ops", "ftp://a/b", "http://u:p@a/b", "https://a b/c", "https://a:0/b", "https://"])
def test_a_wrong_webhook_is_reported(tmp_path: Path, url: str) -> None:
    text = f"webhooks: {{secret: 0123456789abcdef}}\nopen_fall: {{notify: {{webhook: '{url}'}}}}"
    assert check_section(tmp_path, text) == [f"2 open_fall.notify.webhook: {NO_HOOK}"]


@pytest.mark.parametrize(
    "secret",
    [
        "fifteen letters",
        "whsec_",
        "whsec_sixteen letters!",
        "whsec_" + b64encode(bytes(23)).decode(),
        "whsec_" + b64encode(bytes(65)).decode(),
        "whsec_ä" + b64encode(bytes(32)).decode(),
    ],
)
def test_a_secret_that_is_too_weak_is_reported(tmp_path: Path, secret: str) -> None:
    assert check_section(tmp_path, f"webhooks: {{secret: '{secret}'}}") == [f"1 webhooks.secret: {NO_SECRET}"]


@pytest.mark.parametrize("section", ["", "webhooks:\n", "webhooks: {secret: '${EMPTY}'}\n"])
def test_a_webhook_without_a_secret_is_reported(tmp_path: Path, section: str) -> None:
    (problem,) = check_section(tmp_path, f"{section}open_fall: {{notify: {{webhook: 'https://a.example/b'}}}}")
    assert problem.endswith(
        "open_fall.notify.webhook: a webhook is signed, and there is nothing to sign it with. Set webhooks: secret."
    )


def test_a_webhook_whose_secret_is_wrong_is_reported_once(tmp_path: Path) -> None:
    text = "webhooks: {secret: short}\nopen_fall: {notify: {webhook: 'https://a.example/b'}}"
    assert check_section(tmp_path, text) == [f"1 webhooks.secret: {NO_SECRET}"]


@pytest.mark.parametrize("host", ["https://a.example", "a.example/b", "u@a.example", "", "a b"])
def test_a_wrong_host_is_reported(tmp_path: Path, host: str) -> None:
    assert check_section(tmp_path, f"webhooks: {{allow: ['{host}']}}") == [f"1 webhooks.allow: {NO_HOST.format(host)}"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "webhooks: {allow: []}",
            "1 webhooks.allow: the list is empty. Name a host, or remove the key to allow every public one.",
        ),
        (
            "webhooks: {allow: a.example}",
            "1 webhooks.allow: must be a list, not a single value. Put it into brackets: [one].",
        ),
        ("webhooks: {private: perhaps}", '1 webhooks.private: must be yes or no, not "perhaps".'),
        ("retention: {unread: 0}", "1 retention.unread: must be more than 0."),
        ("limits: {max_memory: 0%}", "1 limits.max_memory: must be more than 0."),
        ("limits: {max_memory: 101%}", "1 limits.max_memory: must be 1 or less."),
        ("limits: {max_memory: 85}", "1 limits.max_memory: must be 1 or less."),
        ("limits: {max_memory: most}", '1 limits.max_memory: must be a share such as 0.5 or 50%, not "most".'),
        ("urgency: {batch: {min_share: 150%}}", "1 urgency.batch.min_share: must be 1 or less."),
        ("urgency: {batch: {max_queued: 0}}", "1 urgency.batch.max_queued: must be 1 or more."),
    ],
)
def test_a_mistake_in_a_related_section_is_reported(tmp_path: Path, line: str, message: str) -> None:
    assert check_section(tmp_path, line) == [message]
