"""Where and how the outbox delivers, and the notifiers that this opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from openfall.workers.outbox.notifiers.discord import DiscordNotifier
from openfall.workers.outbox.notifiers.webhook import WebhookNotifier
from openfall.workers.outbox.notifiers.wording import Notifier
from openfall.workers.outbox.sender import Sender
from openfall.workers.outbox.webhook_url_check import UrlPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """Where and how to deliver. `discord` and `webhook` are the operator's own URLs; `url_policy` is for the URLs of
    producers.

    Without a `secret` no webhook is posted. `rate_limit`: the number of new incidents that each of the operator's
    notifiers reports in a number of seconds.
    """

    discord: str | None = None
    webhook: str | None = None
    secret: str | None = None
    rate_limit: tuple[int, float] = (1, 600.0)
    notify_recovery: bool = True
    url_policy: UrlPolicy = field(default_factory=UrlPolicy)

    @property
    def notifiers(self) -> tuple[str, ...]:
        """The names of the configured notifiers."""
        return tuple(name for name, url in (("discord", self.discord), ("webhook", self.webhook)) if url)


def open_notifiers(settings: OutboxSettings, sender: Sender, clock: Callable[[], float]) -> Mapping[str, Notifier]:
    """The configured notifiers, by name. `clock` is monotonic."""
    notifiers: dict[str, Notifier] = {}
    if settings.discord:
        notifiers["discord"] = DiscordNotifier(url=settings.discord, sender=sender, clock=clock)
    if settings.webhook and settings.secret:
        interval = settings.rate_limit[1]
        notifiers["webhook"] = WebhookNotifier(
            url=settings.webhook, secret=settings.secret, sender=sender, update_interval_seconds=interval
        )
    return notifiers
