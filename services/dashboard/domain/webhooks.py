"""What webhooks are told and how it is signed: the scheme of Standard Webhooks (standardwebhooks.com), so that receivers can
use its libraries."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, get_args

from shared.events.catalog.webhook import Told

EVENTS: tuple[Told, ...] = get_args(Told)
TEST = "webhook.test"
# The one table of which event of a plan is told as what.
OF_PLAN: dict[str, Told] = {
    "PlanSaved": "plan.ready",
    "PlanStarted": "plan.running",
    "PlanPaused": "plan.paused",
    "PlanResumed": "plan.resumed",
    "PlanStopRequested": "plan.stopping",
    "PlanStuck": "plan.stuck",
    "PlanFinished": "plan.finished",
    "PlanStopped": "plan.stopped",
    "PlanFailed": "plan.failed",
}
STATUSES: dict[Told, str] = {
    "plan.ready": "READY",
    "plan.running": "RUNNING",
    "plan.paused": "RUNNING",
    "plan.resumed": "RUNNING",
    "plan.stopping": "RUNNING",
    "plan.stuck": "RUNNING",
    "plan.finished": "FINISHED",
    "plan.stopped": "STOPPED",
    "plan.failed": "FAILED",
}
# Seconds before the second attempt, the third, and so on: two and a half days in all.
PAUSES = (5, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 100_800)
GONE = 410  # the receiver's word that it wants nothing more
# Numbers of an ending that are told with it.
_SUMS = ("spaces_migrated", "spaces_failed", "conserved")
_PREFIX = "whsec_"


def new_secret() -> str:
    """A secret as receivers take it: 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, id: str, at: int, body: bytes) -> str:
    """``v1,`` and the base64 of HMAC-SHA256 over ``id.at.body``; ``at``: seconds since 1970."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    mac = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"


def headers(keys: Iterable[str], id: str, at: int, body: bytes) -> dict[str, str]:
    """Of a delivery. ``keys``: the secrets that count now; while an old one still does, there are two signatures."""
    return {
        "content-type": "application/json",
        "user-agent": "Cloudward",
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(sign(key, id, at, body) for key in keys),
    }


def body(event: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """``at``: when it happened, not when it is told."""
    document = {"type": event, "timestamp": at.isoformat().replace("+00:00", "Z"), "data": data}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def told_of_plan(event: Told, position: int, names: Mapping[str, Any], sums: Mapping[str, Any]) -> dict[str, Any]:
    """``names``: plan, source and site by id and name; ``sums``: the body of the event itself."""
    numbers = {name: sums[name] for name in _SUMS if name in sums}
    return {**names, "status": STATUSES[event], "position": position, **numbers}


def pause(attempts: int, spread: float) -> float | None:
    """Seconds before the next attempt, after so many; None: there is none. ``spread``: from 0 to 1, random."""
    return None if attempts > len(PAUSES) else PAUSES[attempts - 1] * (1 + 0.2 * spread)
