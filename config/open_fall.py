"""`open_fall`: what happens when nothing can serve a job, and who is told.

The policy is the catalog's, who is told is a setting, and the file says both in a form of its own: it has models here,
and is turned both ways.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from openfall.config.bounds import at_most_long, not_empty
from openfall.config.document import Node
from openfall.config.entries import Entry, built, within
from openfall.config.field_types import (
    FieldType,
    flag,
    one_of,
    rate,
    seconds,
    text,
    whole,
    whole_list,
)
from openfall.config.references import References
from openfall.config.settings import NotifySection, Settings
from openfall.config.webhooks import discord_hook, hook
from openfall.router_core.degrading.policy import (
    LONGEST_REPLY,
    CannedReply,
    OpenFallPolicy,
    Remedy,
    Seconds,
    Text,
)
from openfall.router_core.jobs.job import Urgency

_POLICY = OpenFallPolicy()

Remedies = tuple[Remedy, ...]
Count = Annotated[int, Field(ge=1)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Release(_Form):
    """How held jobs come back."""

    initial: Count = _POLICY.release_initial
    max: Count | None = _POLICY.release_max


class OpenFall(_Form):
    """The section as it is written. `default` is for the urgencies that it does not name."""

    interactive: Remedies = _POLICY.remedies[Urgency.INTERACTIVE]
    background: Remedies = _POLICY.remedies[Urgency.BACKGROUND]
    batch: Remedies = _POLICY.remedies[Urgency.BATCH]
    default: Remedies | None = None
    default_fallbacks: tuple[Text, ...] = _POLICY.default_fallbacks
    canned_reply: CannedReply | None = _POLICY.canned_reply
    last_answer_ttl: Seconds = _POLICY.last_answer_ttl
    hold_for: Seconds = _POLICY.hold_for
    release: Release = Release()
    notify: NotifySection = NotifySection()

    def of(self, urgency: Urgency) -> Remedies:
        """What is done for a job of that urgency."""
        own: Remedies = getattr(self, urgency)
        return own if urgency in self.model_fields_set or self.default is None else self.default


REMEDIES: FieldType[Remedies] = whole_list(one_of("remedy", list(Remedy)))  # type: ignore[arg-type]

CANNED_REPLY = at_most_long(LONGEST_REPLY, not_empty(text))

RELEASE = Entry(
    Release,
    {
        "initial": whole.meaning("So many jobs go to a model that takes calls again, and one more for each answer ..."),
        "max": whole.meaning("... up to so many at a time. Without it: the slots of its backends."),
    },
)

NOTIFY = Entry(
    NotifySection,
    {
        "discord": discord_hook.meaning(
            'A Discord webhook that is told what fell. Write "${DISCORD_WEBHOOK:-}": it is never shown.'
        ),
        "webhook": hook.meaning("An address that is told the same by a signed POST. It needs `webhooks: secret`."),
        "rate_limit": rate.meaning("How many notices of one incident: what happens meanwhile is counted in the next."),
        "on_recovery": flag.meaning("Tell when it is over, too."),
    },
)


def open_fall_entry(models: References) -> Entry[OpenFall]:
    """What the section may say, where these models exist."""
    return Entry(
        OpenFall,
        {
            "interactive": REMEDIES.meaning("What is done for a job that somebody waits for: the first that can be."),
            "background": REMEDIES.meaning("For one that somebody will look for soon."),
            "batch": REMEDIES.meaning("For one that nobody waits for."),
            "default": REMEDIES.meaning("For each of these urgencies that is not here."),
            "default_fallbacks": models.many.meaning(
                "The models that `default_fallback` may ask, in order. Without it: all that cost nothing for the call."
            ),
            "canned_reply": CANNED_REPLY.meaning(
                "What `canned_reply` says. Without it: that no model can answer now; and, if so, that it is kept."
            ),
            "last_answer_ttl": seconds.meaning("How long `last_answer` remembers an answer."),
            "hold_for": seconds.meaning(
                "How long a job is held at most, whose caller has not said until when an answer is wanted."
            ),
            "release": within(RELEASE).meaning("How held jobs come back when a model does: slowly at first."),
            "notify": within(NOTIFY).meaning("Who is told."),
        },
    )


def read_open_fall(section: Node | None, models: References) -> OpenFall:
    """The section; what is wrong with it is reported."""
    return built(open_fall_entry(models), section) if section is not None else OpenFall()


def policy(told: OpenFall) -> OpenFallPolicy:
    """What of it the catalog has."""
    return OpenFallPolicy(
        remedies={urgency: told.of(urgency) for urgency in Urgency},
        canned_reply=told.canned_reply,
        default_fallbacks=told.default_fallbacks,
        last_answer_ttl=told.last_answer_ttl,
        hold_for=told.hold_for,
        release_initial=told.release.initial,
        release_max=told.release.max,
    )


def as_written(policy: OpenFallPolicy, settings: Settings) -> OpenFall:
    """The section that means these."""
    return OpenFall(
        **{str(urgency): remedies for urgency, remedies in policy.remedies.items()},
        canned_reply=policy.canned_reply,
        default_fallbacks=policy.default_fallbacks,
        last_answer_ttl=policy.last_answer_ttl,
        hold_for=policy.hold_for,
        release=Release(initial=policy.release_initial, max=policy.release_max),
        notify=settings.notify,
    )


def written_at(place: str, section: Node | None) -> str:
    """Where the file says what the catalog has at a place: that of an urgency may stand under `default`."""
    name, _, key = place.partition(".")
    told = section.entries() if section is not None else {}
    return "open_fall.default" if name == "open_fall" and key in set(Urgency) and key not in told else place
