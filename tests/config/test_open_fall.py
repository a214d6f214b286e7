"""What `open_fall` and `webhooks` mean, and how they are dumped."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
import yaml

from openfall import config
from openfall.config.redact import redact_discord, redact_webhook
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.open_fall_policy import OpenFallPolicy
from openfall.router_core.vocabulary import Remedy, Urgency
from tests.config.config_texts import MODELS, load_text, unmask

DISCORD = "https://discord.com/api/webhooks/123456/AbC-dEf_0123456789"
HOOK = "https://ops.example.com/hooks/3f9c0123456789?via=openfall"
SIGNED = "whsec_" + b64encode(bytes(range(32))).decode()


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
        catalog = load_text(tmp_path, FULL, base=MODELS).catalog
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
        catalog = load_text(tmp_path, FULL, base=MODELS).catalog
        bot, code = catalog.roles["bot"], catalog.tasks["code"]
        assert (bot.open_fall, bot.canned_reply) == ((Remedy.LAST_ANSWER, Remedy.CANNED_REPLY), "Not now.")
        assert (code.open_fall, code.canned_reply) == ((Remedy.FAIL,), None)

    def test_the_settings_have_the_notifiers(self, tmp_path: Path) -> None:
        settings = load_text(tmp_path, FULL, SECRETS, base=MODELS).settings
        assert (settings.notify.discord, settings.notify.webhook) == (DISCORD, HOOK)
        assert (settings.notify.rate_limit, settings.notify.on_recovery) == ((3, 3600), False)
        assert settings.webhooks.secret == SIGNED
        assert settings.webhooks.allow == ("hooks.example.com", "*.studio.example:8443")
        assert settings.webhooks.private is True

    def test_an_address_that_is_empty_is_none(self, tmp_path: Path) -> None:
        settings = load_text(tmp_path, FULL, base=MODELS).settings
        assert (settings.notify.discord, settings.notify.webhook, settings.webhooks.secret) == (None, None, None)

    def test_no_secret_is_in_any_representation(self, tmp_path: Path) -> None:
        configuration = load_text(tmp_path, FULL, SECRETS, base=MODELS)
        assert not [secret for secret in SECRETS.values() if secret in f"{configuration}{configuration!r}"]

    @pytest.mark.parametrize("text", ["", "open_fall:\n", "open_fall: {notify: }\n", "open_fall: {release: {}}\n"])
    def test_without_the_section_the_defaults_of_the_catalog_hold(self, tmp_path: Path, text: str) -> None:
        assert load_text(tmp_path, text, base=MODELS).catalog.open_fall == Catalog().open_fall

    def test_an_urgency_without_remedies_has_its_default_ones(self, tmp_path: Path) -> None:
        remedies = load_text(tmp_path, "open_fall: {batch: [fail]}", base=MODELS).catalog.open_fall.remedies
        assert remedies == {**OpenFallPolicy().remedies, Urgency.BATCH: (Remedy.FAIL,)}

    def test_default_applies_to_every_urgency_without_its_own(self, tmp_path: Path) -> None:
        remedies = load_text(tmp_path, "open_fall: {default: [fail]}", base=MODELS).catalog.open_fall.remedies
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
        configuration = load_text(tmp_path, "open_fall: {notify: {discord: '${D}'}}", {"D": url}, base=MODELS)
        assert configuration.settings.notify.discord == url.strip()

    @pytest.mark.parametrize("secret", [SIGNED, "whsec_" + b64encode(bytes(24)).decode(), "sixteen letters!"])
    def test_a_secret_is_a_standard_one_or_any_long_text(self, tmp_path: Path, secret: str) -> None:
        assert (
            load_text(tmp_path, "webhooks: {secret: '${S}'}", {"S": secret}, base=MODELS).settings.webhooks.secret
            == secret
        )

    @pytest.mark.parametrize(("word", "share"), [("0.85", 0.85), ("85%", 0.85), ("70 %", 0.7), ("1", 1), ("100%", 1)])
    def test_a_share_is_a_number_or_a_percentage(self, tmp_path: Path, word: str, share: float) -> None:
        configuration = load_text(tmp_path, f"limits: {{max_memory: {word}}}", base=MODELS)
        assert configuration.settings.limits.max_memory == share
        assert (
            load_text(
                tmp_path, config.dump(configuration).partition("backends:")[0], base=MODELS
            ).settings.limits.max_memory
            == 0.85
        )
        assert yaml.safe_load(config.dump(configuration))["limits"]["max_memory"] == share


class TestShowing:
    def test_every_urgency_is_spelled_out_and_every_secret_is_masked(self, tmp_path: Path) -> None:
        shown = yaml.safe_load(config.dump(load_text(tmp_path, FULL, SECRETS, base=MODELS)))
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
                "actions": False,
            },
        }
        assert shown["webhooks"] == {
            "secret": "…",
            "allow": ["hooks.example.com", "*.studio.example:8443"],
            "private": True,
        }

    def test_a_dump_means_the_same_except_for_the_secrets(self, tmp_path: Path) -> None:
        first = load_text(tmp_path, FULL, SECRETS, base=MODELS)
        file = tmp_path / "openfall.yaml"
        file.write_text(unmask(config.dump(first)), "utf-8")
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
