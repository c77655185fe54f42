"""Events of webhooks: that there is one, that its secret was changed, that it is gone. Its name and address stand in tables."""

from typing import ClassVar, Literal

from shared.events.contract import Event
from shared.events.types import Id

Told = Literal[
    "plan.ready",
    "plan.running",
    "plan.paused",
    "plan.resumed",
    "plan.stopping",
    "plan.stuck",
    "plan.finished",
    "plan.stopped",
    "plan.failed",
]


class WebhookEvent(Event, abstract=True):
    CATEGORY: ClassVar[str] = "webhook"
    webhook: Id


class WebhookRegistered(WebhookEvent):
    """From here on the webhook is told what ``events`` names."""

    events: tuple[Told, ...]


class WebhookSecretRotated(WebhookEvent):
    """Deliveries are signed with a new secret; for a day with the old one besides."""


class WebhookRemoved(WebhookEvent):
    """Nothing is sent to it any more."""
