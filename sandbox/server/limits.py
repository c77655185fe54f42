"""What stands before the instance in some houses: Data Center's rate limiting (7.3 and later), and a firewall that lets only
browsers in."""

import time

from sandbox.server.errors import Refusal
from sandbox.versions import Version


class RateLimit:
    """A bucket of tokens for each user, as Data Center keeps it. ``option``: ``{"capacity": 100, "fill_rate": 10, "interval": 1}``,
    tokens at most and tokens given back every so many seconds; None: never empty."""

    def __init__(self, version: Version, option: dict[str, float] | None) -> None:
        self.here = version.has("rate-limit")
        self.capacity = float((option or {}).get("capacity", 100))
        self.fill = float((option or {}).get("fill_rate", self.capacity))
        self.interval = float((option or {}).get("interval", 1))
        self.limited = option is not None and self.here
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, user: str) -> dict[str, str]:
        """Headers of the answer to one more request. Raises Refusal with 429 where the bucket is empty."""
        if not self.here:
            return {}
        left = self.capacity - 1
        if self.limited:
            now = time.monotonic()
            left, since = self._left.get(user, (self.capacity, now))
            given = (now - since) // self.interval
            left, since = min(self.capacity, left + given * self.fill), since + given * self.interval
            if left < 1:
                wait = max(1, round(since + self.interval - now))
                self._left[user] = (left, since)
                raise Refusal(429, "Rate limit exceeded.", plain=True, headers=self._headers(0, wait))
            left -= 1
            self._left[user] = (left, since)
        return self._headers(left, 0)

    def _headers(self, left: float, wait: int) -> dict[str, str]:
        told = {"Limit": self.capacity, "Remaining": left, "Interval-Seconds": self.interval, "FillRate": self.fill}
        return {f"X-RateLimit-{name}": f"{value:g}" for name, value in told.items()} | {"retry-after": str(wait)}


def firewall(agent: str) -> None:
    """Raises Refusal for what does not look like a browser."""
    if not agent.startswith("Mozilla/"):
        raise Refusal(405, "Not allowed", plain=True, headers={"x-amzn-waf-action": "captcha"})
