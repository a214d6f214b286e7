"""`open_fall` and `webhooks`: what the section means, how it is dumped, and which mistakes are reported."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from openfall import config
from openfall.config import LoadedConfig
from openfall.config.redact import redact_discord, redact_webhook
from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.catalog.open_fall_policy import OpenFallPolicy
from openfall.router_core.vocabulary import Remedy, Urgency

BASE = """
backends: {tower: {url: "http://127.0.0.1:1", pool: gpu}}
models: {coder: {upstream: x, backends: [tower]}, small: {upstream: y, backends: [tower]}}
"""
DISCORD = "https://discord.com/api/webhooks/123456/AbC-dEf_0123456789"
HOOK = "https://ops.example.com/hooks/3f9c0123456789?via=openfall"
SIGNED = "whsec_" + b64encode(bytes(range(32))).decode()


def loaded(directory: Path, text: str, **environ: str) -> LoadedConfig:
    file = directory / "openfall.yaml"
    file.write_text(dedent(text) + BASE, encoding="utf-8")
    return config.load(file, environ=environ, cwd=directory)


def check_text(directory: Path, text: str) -> list[str]:
    """The problems of a file that begins with this text."""
    file = directory / "openfall.yaml"
    file.write_text(dedent(text).strip("\n") + BASE, encoding="utf-8")
    problems = config.check(file, environ={"EMPTY": ""}, cwd=directory)
    return [str(problem).removeprefix("openfall.yaml:") for problem in problems]


FULL = """
roles:
  bot: {chain: [coder], open_fall: [last_answer, canned_reply], canned_reply: Not now.}
tasks:
  code: {chain: [coder], open_fall: [fail]}
open_fall:
  interactive: [default_fallback, canned_reply, hold]
  default: [last_answer, hold]
  default_fallbacks: [small, coder]
  canned_reply: Haruka is asleep.
  last_answer_ttl: 2h
  hold_for: 3d
  release: {initial: 2, max: 8}
  notify: {discord: "${DISCORD_WEBHOOK:-}", webhook: "${HOOK:-}", rate_limit: 3 per 1h, on_recovery: no}
webhooks: {secret: "${SECRET:-}", allow: [Hooks.example.com, "*.studio.example:8443"], private: yes}
"""
SECRETS = {"DISCORD_WEBHOOK": DISCORD, "HOOK": HOOK, "SECRET": SIGNED}


class TestMeaning:
    def test_the_catalog_has_the_policy(self, tmp_path: Path) -> None:
        catalog = loaded(tmp_path, FULL).catalog
        assert catalog.open_fall == OpenFallPolicy(
            remedies={
                Urgency.INTERACTIVE: (Remedy.DEFAULT_FALLBACK, Remedy.CANNED_REPLY, Remedy.HOLD),
                Urgency.BACKGROUND: (Remedy.LAST_ANSWER, Remedy.HOLD),
                Urgency.BATCH: (Remedy.LAST_ANSWER, Remedy.HOLD),
            },
            canned_reply="Haruka is asleep.",
            default_fallbacks=("small", "coder"),
            last_answer_ttl=7200,
            hold_for=259200,
            release_initial=2,
            release_max=8,
        )

    def test_a_role_or_task_has_remedies_of_its_own(self, tmp_path: Path) -> None:
        catalog = loaded(tmp_path, FULL).catalog
        bot, code = catalog.roles["bot"], catalog.tasks["code"]
        assert (bot.open_fall, bot.canned_reply) == ((Remedy.LAST_ANSWER, Remedy.CANNED_REPLY), "Not now.")
        assert (code.open_fall, code.canned_reply) == ((Remedy.FAIL,), None)

    def test_the_settings_have_the_notifiers(self, tmp_path: Path) -> None:
        settings = loaded(tmp_path, FULL, **SECRETS).settings
        assert (settings.notify.discord, settings.notify.webhook) == (DISCORD, HOOK)
        assert (settings.notify.rate_limit, settings.notify.on_recovery) == ((3, 3600), False)
        assert settings.webhooks.secret == SIGNED
        assert settings.webhooks.allow == ("hooks.example.com", "*.studio.example:8443")
        assert settings.webhooks.private is True

    def test_an_address_that_is_empty_is_none(self, tmp_path: Path) -> None:
        settings = loaded(tmp_path, FULL).settings
        assert (settings.notify.discord, settings.notify.webhook, settings.webhooks.secret) == (None, None, None)

    def test_no_secret_is_in_any_representation(self, tmp_path: Path) -> None:
        configuration = loaded(tmp_path, FULL, **SECRETS)
        assert not [secret for secret in SECRETS.values() if secret in f"{configuration}{configuration!r}"]

    @pytest.mark.parametrize("text", ["", "open_fall:\n", "open_fall: {notify: }\n", "open_fall: {release: {}}\n"])
    def test_without_the_section_the_defaults_of_the_catalog_hold(self, tmp_path: Path, text: str) -> None:
        assert loaded(tmp_path, text).catalog.open_fall == Catalog().open_fall

    def test_an_urgency_without_remedies_has_its_default_ones(self, tmp_path: Path) -> None:
        remedies = loaded(tmp_path, "open_fall: {batch: [fail]}").catalog.open_fall.remedies
        assert remedies == {**OpenFallPolicy().remedies, Urgency.BATCH: (Remedy.FAIL,)}

    def test_default_applies_to_every_urgency_without_its_own(self, tmp_path: Path) -> None:
        remedies = loaded(tmp_path, "open_fall: {default: [fail]}").catalog.open_fall.remedies
        assert set(remedies.values()) == {(Remedy.FAIL,)}

    @pytest.mark.parametrize(
        "url",
        [
            DISCORD,
            f"{DISCORD}?thread_id=7",
            f" {DISCORD}\n",
            "https://discord.com/api/v10/webhooks/1/t",
            "http://127.0.0.1:8080/api/webhooks/1/t",
            "http://localhost/api/webhooks/1/t",
            "http://[::1]:80/api/webhooks/1/t",
        ],
    )
    def test_a_discord_webhook_is_recognised_by_its_form(self, tmp_path: Path, url: str) -> None:
        configuration = loaded(tmp_path, "open_fall: {notify: {discord: '${D}'}}", D=url)
        assert configuration.settings.notify.discord == url.strip()

    @pytest.mark.parametrize("secret", [SIGNED, "whsec_" + b64encode(bytes(24)).decode(), "sixteen letters!"])
    def test_a_secret_is_a_standard_one_or_any_long_text(self, tmp_path: Path, secret: str) -> None:
        assert loaded(tmp_path, "webhooks: {secret: '${S}'}", S=secret).settings.webhooks.secret == secret

    @pytest.mark.parametrize(("word", "share"), [("0.85", 0.85), ("85%", 0.85), ("70 %", 0.7), ("1", 1), ("100%", 1)])
    def test_a_share_is_a_number_or_a_percentage(self, tmp_path: Path, word: str, share: float) -> None:
        configuration = loaded(tmp_path, f"limits: {{max_memory: {word}}}")
        assert configuration.settings.limits.max_memory == share
        assert loaded(tmp_path, config.dump(configuration).partition("backends:")[0]).settings.limits.max_memory == 0.85
        assert yaml.safe_load(config.dump(configuration))["limits"]["max_memory"] == share


class TestShowing:
    def test_every_urgency_is_spelled_out_and_every_secret_is_masked(self, tmp_path: Path) -> None:
        shown = yaml.safe_load(config.dump(loaded(tmp_path, FULL, **SECRETS)))
        assert shown["open_fall"] == {
            "interactive": ["default_fallback", "canned_reply", "hold"],
            "background": ["last_answer", "hold"],
            "batch": ["last_answer", "hold"],
            "default_fallbacks": ["small", "coder"],
            "canned_reply": "Haruka is asleep.",
            "last_answer_ttl": "2h",
            "hold_for": "3d",
            "release": {"initial": 2, "max": 8},
            "notify": {
                "discord": "https://discord.com/api/webhooks/123456/…",
                "webhook": "https://ops.example.com/…",
                "rate_limit": "3 per 1h",
                "on_recovery": False,
            },
        }
        assert shown["webhooks"] == {
            "secret": "…" * 16,
            "allow": ["hooks.example.com", "*.studio.example:8443"],
            "private": True,
        }

    def test_a_dump_means_the_same_except_for_the_secrets(self, tmp_path: Path) -> None:
        first = loaded(tmp_path, FULL, **SECRETS)
        file = tmp_path / "openfall.yaml"
        file.write_text(config.dump(first), "utf-8")
        again = config.load(file, environ={}, cwd=tmp_path)
        assert again.catalog == first.catalog
        assert again.settings.notify.rate_limit == first.settings.notify.rate_limit
        assert config.dump(again) == config.dump(first)

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            (DISCORD, "https://discord.com/api/webhooks/123456/…"),
            ("https://discord.com/api/v10/webhooks/1/hunter2?thread_id=7", "https://discord.com/api/v10/webhooks/1/…?thread_id=7"),
        ],
    )  # fmt: skip
    def test_a_discord_webhook_is_shown_without_its_token(self, url: str, shown: str) -> None:
        assert redact_discord(url) == shown

    @pytest.mark.parametrize("rest", ["", "/hunter2", "?hunter2", "#hunter2", "/a?k=hunter2"])
    def test_of_a_webhook_only_the_host_is_shown(self, rest: str) -> None:
        assert redact_webhook(f"http://ops.example.com:8080{rest}") == "http://ops.example.com:8080/…"


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


class TestMistakes:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ("interactve: [hold]", ': unknown key "interactve". Did you mean "interactive"?'),
            ("replay: yes", ': unknown key "replay".'),
            ("default: [hodl]", '.default: unknown remedy "hodl". Did you mean "hold"?'),
            ("default: [canned_reply, hodl]", '.default: unknown remedy "hodl". Did you mean "hold"?'),
            ("default: hold", ".default: must be a list, not a single value. Write it as [one, two]."),
            ("default_fallbacks: [smal]", '.default_fallbacks: unknown model "smal". Did you mean "small"?'),
            ("default_fallbacks: []", ".default_fallbacks: the list is empty. Name at least one model."),
            ("canned_reply: ''", ".canned_reply: must not be empty."),
            ("last_answer_ttl: 0", ".last_answer_ttl: must be more than 0."),
            ("release: {initial: 0}", ".release.initial: must be 1 or more."),
            ("release: {max: 0}", ".release.max: must be 1 or more."),
            ("release: {intial: 1}", '.release: unknown key "intial". Did you mean "initial"?'),
            ("release: 3", ".release: must be a mapping of keys to values, not a single value."),
            ("notify: {slack: x}", '.notify: unknown key "slack". Known: discord, on_recovery, rate_limit, webhook.'),
            ("notify: {rate_limit: 0 per 1m}", '.notify.rate_limit: must be a rate such as 1 per 10m, not "0 per 1m".'),
            ("notify: {on_recovery: perhaps}", '.notify.on_recovery: must be yes or no, not "perhaps".'),
        ],
    )
    def test_a_mistake_in_the_section_is_reported(self, tmp_path: Path, fields: str, message: str) -> None:
        (problem,) = check_text(tmp_path, f"open_fall: {{{fields}}}")
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
    def test_a_list_without_an_end_is_reported_where_it_is_written(
        self, tmp_path: Path, fields: str, place: str
    ) -> None:
        assert check_text(tmp_path, f"open_fall: {fields}") == [
            f"{place}: it must end in one of canned_reply, hold, fail: the others are not always available."
        ]

    def test_an_order_that_cannot_be_is_reported(self, tmp_path: Path) -> None:
        assert check_text(tmp_path, "roles: {bot: {chain: [coder], open_fall: [hold, canned_reply]}}") == [
            "1 roles.bot.open_fall: canned_reply is never reached: hold comes first, and is always available."
        ]

    @pytest.mark.parametrize("section", ["open_fall: {{{}}}", "roles: {{bot: {{chain: [coder], {}}}}}",
                                         "tasks: {{bot: {{chain: [coder], {}}}}}"])  # fmt: skip
    def test_a_canned_reply_is_no_more_than_a_message(self, tmp_path: Path, section: str) -> None:
        assert check_text(tmp_path, section.format(f"canned_reply: {'é' * 4096}")) == []
        (problem,) = check_text(tmp_path, section.format(f"canned_reply: {'é' * 4097}"))
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
    def test_a_mistake_in_a_role_or_task_is_reported(
        self, tmp_path: Path, section: str, fields: str, message: str
    ) -> None:
        assert check_text(tmp_path, f"{section}: {{bot: {{chain: [coder], {fields}}}}}") == [
            f"1 {section}.bot{message}"
        ]

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
    def test_a_wrong_discord_webhook_is_reported_with_where_to_find_one(self, tmp_path: Path, url: str) -> None:
        assert check_text(tmp_path, f"open_fall:\n  notify:\n    discord: '{url}'") == [
            f"3 open_fall.notify.discord: {NO_DISCORD}"
        ]

    @pytest.mark.parametrize(
        "url", ["ops", "ftp://a/b", "http://u:p@a/b", "https://a b/c", "https://a:0/b", "https://"]
    )
    def test_a_wrong_webhook_is_reported(self, tmp_path: Path, url: str) -> None:
        text = f"webhooks: {{secret: 0123456789abcdef}}\nopen_fall: {{notify: {{webhook: '{url}'}}}}"
        assert check_text(tmp_path, text) == [f"2 open_fall.notify.webhook: {NO_HOOK}"]

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
    def test_a_secret_that_is_too_weak_is_reported(self, tmp_path: Path, secret: str) -> None:
        assert check_text(tmp_path, f"webhooks: {{secret: '{secret}'}}") == [f"1 webhooks.secret: {NO_SECRET}"]

    @pytest.mark.parametrize("section", ["", "webhooks:\n", "webhooks: {secret: '${EMPTY}'}\n"])
    def test_a_webhook_without_a_secret_is_reported(self, tmp_path: Path, section: str) -> None:
        (problem,) = check_text(tmp_path, f"{section}open_fall: {{notify: {{webhook: 'https://a.example/b'}}}}")
        assert problem.endswith(
            "open_fall.notify.webhook: a webhook is signed, and there is nothing to sign it with. Set webhooks: secret."
        )

    def test_a_webhook_whose_secret_is_wrong_is_reported_once(self, tmp_path: Path) -> None:
        text = "webhooks: {secret: short}\nopen_fall: {notify: {webhook: 'https://a.example/b'}}"
        assert check_text(tmp_path, text) == [f"1 webhooks.secret: {NO_SECRET}"]

    @pytest.mark.parametrize("host", ["https://a.example", "a.example/b", "u@a.example", "", "a b"])
    def test_a_wrong_host_is_reported(self, tmp_path: Path, host: str) -> None:
        assert check_text(tmp_path, f"webhooks: {{allow: ['{host}']}}") == [f"1 webhooks.allow: {NO_HOST.format(host)}"]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (
                "webhooks: {allow: []}",
                "1 webhooks.allow: the list is empty. Name a host, or remove the key to allow every public one.",
            ),
            (
                "webhooks: {allow: a.example}",
                "1 webhooks.allow: must be a list, not a single value. Write it as [one, two].",
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
    def test_a_mistake_in_a_related_section_is_reported(self, tmp_path: Path, line: str, message: str) -> None:
        assert check_text(tmp_path, line) == [message]
