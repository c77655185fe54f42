"""A migration through a deployment as somebody outside sees it: the API, and the administration of its stand-ins."""

import json
import time
from collections.abc import Callable
from typing import Any

from cli.client import ENDED, Client, ClientError
from cli.tryout import ACCEPTED, REPAIRS, SITE_CREDENTIAL
from sandbox.server import TOKEN

# Runs inside the stand-ins' container, where their administration is to be reached and nowhere else.
_ASK = """
import json, sys, urllib.request as u
method, url, body = json.load(sys.stdin)
data = None if body is None else json.dumps(body).encode()
request = u.Request(url, data, {"content-type": "application/json"}, method=method)
sys.stdout.buffer.write(u.urlopen(request, timeout=60).read())
"""
ASK = ("python3", "-c", _ASK)
_ADMIN = "http://sandbox:8090"

Inside = Callable[[str], str]


class Trial:
    """``client``: of the dashboard, however it is reached. ``inside``: runs ``ASK`` in the stand-ins' container with the
    given standard input and returns what it printed."""

    def __init__(self, client: Client, inside: Inside) -> None:
        self.client = client
        self._inside = inside

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._inside(json.dumps([method, _ADMIN + path, body]))
        return json.loads(answer) if answer else None

    def source(self, name: str, location: str) -> str:
        """A source, analyzed, with its addresses repaired and its domains trusted."""
        body = {"name": name, "location": location, "credential": {"token": TOKEN}}
        source = str(self.client.post("/sources", body)["id"])
        analysis = self.client.analyzed(self.client.post(f"/sources/{source}/analyses")["id"])
        assert analysis["state"] == "completed", analysis
        for path, decided in REPAIRS:
            self.client.post(f"/sources/{source}/{path}", decided)
        return source

    def site(self, name: str) -> str:
        """One more site in the stand-ins, on which somebody lives already; its address."""
        body = {"name": name, "kind": "cloud", "port": 0, "options": {"spaces": ["OPS"]}}
        return str(self.admin("POST", "/instances", body)["url"])

    def plan(self, source: str, name: str, url: str) -> str:
        """A plan for all of the source to a site, saved."""
        site = {"name": name, "url": url, "kind": "sandbox", "sandbox": True, "credential": SITE_CREDENTIAL}
        whole = {"users": "all", "groups": True, "spaces": "all", "accepted": [reason.value for reason in ACCEPTED]}
        added = self.client.post("/sites", site)["id"]
        return str(self.client.post("/plans", {"name": name, "source": source, "site": added, **whole})["id"])

    def run(self, plan: str) -> None:
        self.client.post(f"/plans/{plan}/run", {})

    def read(self, path: str, timeout: float = 90) -> Any:
        """A read, tried again for as long as database or dashboard are just being killed."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.client.get(path)
            except ClientError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    def status(self, plan: str) -> str:
        return str(self.read(f"/plans/{plan}")["status"])

    def ended(self, plan: str, timeout: float = 240) -> dict[str, Any]:
        """Waits for the plan's end and returns its report."""
        deadline = time.monotonic() + timeout
        while self.status(plan) not in ENDED:
            assert time.monotonic() < deadline, self.read(f"/plans/{plan}")
            time.sleep(0.5)
        return dict(self.read(f"/plans/{plan}/report"))

    def log_ends_at(self) -> int:
        position = 0
        while events := self.client.get("/events", after=position)["events"]:
            position = events[-1]["position"]
        return position

    # -- the stand-ins -------------------------------------------------------------------------------------------

    def pace(self, site: str, latency: float | None) -> None:
        """Seconds before each of the site's answers."""
        self.admin("PUT", f"/sites/{site}/pace", {"latency": latency})

    def requests(self, site: str) -> int:
        """How many requests the site has had."""
        return int(self.admin("GET", f"/sites/{site}/journal?limit=1")["last"])

    def goes_on(self, plan: str, site: str, requests: int = 12, timeout: float = 120) -> None:
        """Waits until the site of a running plan has had some more requests, so that what is done next meets other work."""
        before, deadline = self.requests(site), time.monotonic() + timeout
        while self.requests(site) < before + requests:
            assert self.status(plan) not in ENDED, "the plan had ended before all was done to it: slow its site down"
            assert time.monotonic() < deadline, f"{requests} requests not within {timeout:.0f} s"
            time.sleep(0.5)

    def canonical(self, site: str, url: str) -> str:
        """The site as one document, without ids and times, and without its own name and address."""
        text = json.dumps(self.admin("GET", f"/sites/{site}/canonical"), indent=1, sort_keys=True)
        return text.replace(url, "http://site").replace(site, "SITE")

    def twice(self, site: str) -> list[dict[str, Any]]:
        """What was created on the site more than once, by what it is."""
        return list(self.admin("GET", f"/sites/{site}/created?least=2")["created"])
