"""Judges every exchange with the stand-ins by the documents, and counts what was seen."""

import fnmatch
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.cloud.site import Cloud
from sandbox.front import Front
from sandbox.hosted import Hosted
from sandbox.wire import Answer, Request
from tests.contract.documents import SERVER, SERVER_MAJOR, Documents, Exchange

_EXCEPTIONS = Path(__file__).with_name("exceptions.toml")


@dataclass
class Exception_:
    """A reasoned exception: what it allows, and how often it was needed."""

    operation: str
    problem: str
    reason: str
    needed: int = 0

    def covers(self, operation: str, problem: str) -> bool:
        return fnmatch.fnmatchcase(operation, self.operation) and fnmatch.fnmatchcase(problem, self.problem)


@dataclass
class Judge:
    """``problems``: what no exception covers, with how often it was seen and one example."""

    documents: Documents
    servers: Documents = field(default_factory=lambda: Documents(SERVER, "DC "))
    problems: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)
    succeeded: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unknown: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    exceptions: list[Exception_] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.exceptions = [Exception_(**item) for item in tomllib.loads(_EXCEPTIONS.read_text())["exception"]]

    def see(self, front: Front, request: Request, reply: Answer) -> None:
        """An observer of a front: what reached a site or a server of the documents' release, and what it answered."""
        if request.method not in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            return
        documents, path = self.documents, request.path
        if isinstance(front.back, Hosted):
            if front.back.app.state.version.major != SERVER_MAJOR:
                return
            documents, path = self.servers, path[path.find("/rest/") :] if "/rest/" in path else path
        elif not isinstance(front.back, Cloud):
            return
        self.judge(
            documents,
            Exchange(
                request.method,
                path,
                request.raw_query,
                dict(request.headers),
                request.body,
                reply.status,
                reply.content_type,
                reply.body,
            ),
        )

    def judge(self, documents: Documents, exchange: Exchange) -> None:
        operation = documents.find(exchange.method, exchange.path)
        if exchange.status >= 500:
            self._problem(f"{exchange.method} {exchange.path}", f"status {exchange.status}", exchange)
        if operation is None:
            self.unknown[f"{exchange.method} {exchange.path}"] += 1
            return
        self.requests += 1
        for problem in operation.answer_problems(exchange):
            self._problem(operation.name, f"answer {problem}", exchange)
        if exchange.status == 413:
            return  # the body is not kept
        accepted = exchange.status < 400
        # What the product sends has to be right whatever comes back; what others send only where it was taken, and only by
        # v2: v1 and Jira ignore what they do not know, as the real ones do.
        product = exchange.headers.get("user-agent", "").startswith("cloudward")
        if product or (accepted and operation.path.startswith("/wiki/api/v2/")):
            for problem in operation.request_problems(exchange):
                self._problem(operation.name, f"request {problem}", exchange)
        if accepted:
            self.succeeded.add(operation.name)
        elif exchange.status < 500:
            self.refused.add(operation.name)

    def _problem(self, operation: str, problem: str, exchange: Exchange) -> None:
        for exception in self.exceptions:
            if exception.covers(operation, problem):
                exception.needed += 1
                return
        self.problems[operation, problem] += 1
        self.examples.setdefault(
            (operation, problem),
            f"{exchange.method} {exchange.path}?{exchange.query} {exchange.body[:200]!r} -> {exchange.status} {exchange.reply[:200]!r}",
        )

    def validated(self) -> set[str]:
        """The operations with a successful and a refused answer seen."""
        return self.succeeded & self.refused

    def result(self) -> dict[str, Any]:
        return {"operations_validated": len(self.validated()), "requests_validated": self.requests}
