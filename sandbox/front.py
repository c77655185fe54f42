"""What stands before every instance: reading the request, limits, faults, latency and the journal."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Protocol

from sandbox.cloud.access import AccessLog
from sandbox.faults import Faults, Rule
from sandbox.journal import Entry, Journal
from sandbox.wire import Answer, Document, Request, answer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger("sandbox")

BODY_LIMIT = 5_242_880
URL_LIMIT = 8_192


class Back(Protocol):
    """What an instance does with a request. ``resolve`` fills route, parameters and account; ``handle`` takes effect."""

    upload_limit: int

    def resolve(self, request: Request) -> None: ...

    async def handle(self, request: Request) -> Answer: ...

    def too_large(self, request: Request, limit: int) -> Answer: ...

    def befall(self, rule: Rule, request: Request | None) -> None:
        """Bring about the event of a fault; what concerns the caller is told to the request that is still to be handled."""


class Latency:
    """Seconds before each answer: a number, or a distribution that the same ``seed`` gives again.

    ``{"min", "max", "seed"}`` is an even spread, ``{"median", "sigma", "max", "seed"}`` log-normal (most answers quick, a
    few slow, as real sites are), ``{"mean", "max", "seed"}`` exponential. Raises ``ValueError`` for anything else.
    """

    def __init__(self, option: float | Document | None) -> None:
        self._draw: Callable[[], float] | None = None
        if isinstance(option, dict):
            self._draw = self._distribution(option)
        elif option:
            fixed = float(option)
            self._draw = lambda: fixed

    @staticmethod
    def _distribution(option: Document) -> Callable[[], float]:
        source = random.Random(int(option.get("seed", 0)))
        number = {name: float(value) for name, value in option.items() if name != "seed"}
        most = number.get("max", math.inf)
        match set(number) - {"max"}:
            case names if names <= {"min"} and "max" in number:
                return lambda: source.uniform(number.get("min", 0.0), most)
            case names if names == {"median", "sigma"}:
                return lambda: min(most, source.lognormvariate(math.log(number["median"]), number["sigma"]))
            case names if names == {"mean"}:
                return lambda: min(most, source.expovariate(1 / number["mean"]))
        raise ValueError(
            "latency must be seconds, or {min, max}, {median, sigma} or {mean}, with max and seed if wanted"
        )

    def next(self) -> float:
        return self._draw() if self._draw is not None else 0.0


class RateLimit:
    """A bucket for each caller: ``{"per_second", "burst", "retry_after": true}``. None: no limit."""

    def __init__(self, option: Document | None) -> None:
        self.option = option
        self._buckets: dict[str, tuple[float, float]] = {}

    def refuse(self, account: str) -> Answer | None:
        """429 where the caller's bucket is empty, with the headers of Cloud."""
        if self.option is None:
            return None
        rate, burst = float(self.option["per_second"]), float(self.option.get("burst") or self.option["per_second"])
        now = time.monotonic()
        level, since = self._buckets.get(account, (burst, now))
        level = min(burst, level + (now - since) * rate)
        if level >= 1:
            self._buckets[account] = (level - 1, now)
            return None
        self._buckets[account] = (level, now)
        wait = math.ceil((1 - level) / rate)
        return Answer(
            429,
            b'{"code":429,"message":"Rate limit exceeded"}',
            headers=limit_headers(float(wait) if self.option.get("retry_after", True) else None, int(burst)),
        )


def limit_headers(retry_after: float | None, limit: int = 0) -> list[tuple[str, str]]:
    """What Cloud says with a 429. Source: the project's reference, section 2.1."""
    headers = [("X-RateLimit-Remaining", "0"), ("X-RateLimit-NearLimit", "true"), ("RateLimit-Reason", "burst")]
    if limit:
        headers.append(("X-RateLimit-Limit", str(limit)))
    if retry_after is not None:
        reset = datetime.now(UTC) + timedelta(seconds=retry_after)
        headers += [("Retry-After", f"{retry_after:g}"), ("X-RateLimit-Reset", reset.strftime("%Y-%m-%dT%H:%M:%SZ"))]
    return headers


Observer = Callable[["Front", Request, Answer], None]


class Front:
    """The ASGI application of one instance. ``observers`` see every request with its answer, before faults change it."""

    observers: ClassVar[list[Observer]] = []

    def __init__(self, back: Back, journal: Journal, latency: Latency, limit: RateLimit | None = None) -> None:
        self.back = back
        self.journal = journal
        self.faults = Faults()
        self.latency = latency
        self.limit = limit or RateLimit(None)
        self.access: AccessLog | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = _request(scope)
        multipart = request.headers.get("content-type", "").startswith("multipart/")
        limit = self.back.upload_limit if multipart else BODY_LIMIT
        body, whole = await _read(receive, limit)
        if not whole:
            return
        request.body = body or b""
        self.back.resolve(request)
        rule = None
        if self.faults.rules:
            text = f"{request.path}?{request.raw_query}\n".encode() + request.body
            rule = self.faults.pick(request.method, request.route, request.account, text)
        wait = self.latency.next()
        if wait:
            await asyncio.sleep(wait)
        if rule is not None and rule.when == "before" and rule.action not in ("hold", "slow"):
            if rule.action == "delay":
                await asyncio.sleep(rule.seconds or 0.0)
            elif rule.action == "do":
                self.back.befall(rule, request)
            else:
                entry = self._record(request, Answer(0))
                await self._fail(rule, entry, Answer(0), scope, receive, send)
                return
        if len(request.path) + len(request.raw_query) + 1 > URL_LIMIT:
            reply = answer({"statusCode": 414, "message": "Request-URI Too Long"}, 414)
        elif body is None:
            reply = self.back.too_large(request, limit)
        elif self.limit.option is not None and (refused := self.limit.refuse(request.account)) is not None:
            reply = refused
        else:
            try:
                reply = await self.back.handle(request)
            except Exception:
                log.exception("the sandbox failed on %s %s", request.method, request.route)
                reply = answer({"statusCode": 500, "message": "sandbox failure, see its log"}, 500)
        for observer in self.observers:
            observer(self, request, reply)
        entry = self._record(request, reply)
        if self.access is not None and request.effects:
            self.access.look(entry.sequence, entry.time)
        after = rule is not None and (rule.when != "before" or rule.action in ("hold", "slow"))
        if rule is not None and after and not await self._fail(rule, entry, reply, scope, receive, send):
            return
        await _send(reply, request.method == "HEAD", send)

    def _record(self, request: Request, reply: Answer) -> Entry:
        return self.journal.record(
            request.method,
            request.route,
            request.path,
            request.raw_query,
            request.account,
            reply.status,
            len(request.body),
            (reply.length or 0) if reply.pieces else len(reply.body),
            request.effects,
            request.connection,
            request.headers.get("x-cloudward-claim", "")[:200],
        )

    async def _fail(self, rule: Rule, entry: Entry, reply: Answer, scope: Scope, receive: Receive, send: Send) -> bool:
        """Carry out a fault. True: the answer still has to be sent."""
        if rule.action == "status":
            entry.answered = rule.status
            await _send(_faulty(rule), False, send)
            return False
        if rule.action == "slow":
            await _trickle(reply, rule.bytes_per_second or 1.0, send)
            return False
        if rule.action == "do":
            self.back.befall(rule, None)
            return True
        if rule.action == "delay":
            await asyncio.sleep(rule.seconds or 0.0)
            return True
        if rule.action == "hold":
            return await _hold(rule, entry, receive)
        entry.answered = "closed"
        if rule.when == "mid-body":
            await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply)})
            half = next(reply.pieces(), b"") if reply.pieces else reply.body
            half = half[: len(half) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            scope["sandbox.transport"].close()
        else:
            scope["sandbox.transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            pass
        return False


def _faulty(rule: Rule) -> Answer:
    if rule.status == 429:
        return Answer(429, b'{"code":429,"message":"Rate limit exceeded"}', headers=limit_headers(rule.retry_after))
    headers = [("Retry-After", f"{rule.retry_after:g}")] if rule.retry_after is not None else []
    if rule.status in (502, 503, 504):
        # These come from the proxies in front of a site, which speak HTML.
        page = f"<html><head><title>{rule.status}</title></head><body><h1>{rule.status}</h1></body></html>"
        return Answer(rule.status, page.encode(), "text/html", headers)
    return answer({"statusCode": rule.status, "message": rule.message}, rule.status, headers=headers)


async def _trickle(reply: Answer, rate: float, send: Send) -> None:
    """The answer at so many bytes a second, ten times a second."""
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply)})
    step = max(1, int(rate / 10))
    for at in range(0, len(reply.body), step):
        await send({"type": "http.response.body", "body": reply.body[at : at + step], "more_body": True})
        await asyncio.sleep(step / rate)
    await send({"type": "http.response.body", "body": b""})


async def _hold(rule: Rule, entry: Entry, receive: Receive) -> bool:
    """Keep the answer until the rule is released or its time is over. False: the client went away."""
    if rule.released.is_set():
        return True
    entry.answered = "holding"
    rule.holding += 1
    gone = asyncio.ensure_future(receive())
    free = asyncio.ensure_future(rule.released.wait())
    try:
        await asyncio.wait({gone, free}, timeout=rule.seconds, return_when=asyncio.FIRST_COMPLETED)
        if gone.done() and not free.done():
            entry.answered = "closed"
            return False
        entry.answered = entry.status
        return True
    finally:
        rule.holding -= 1
        gone.cancel()
        free.cancel()


def _request(scope: Scope) -> Request:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers[name.decode("latin-1")] = value.decode("latin-1")
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    path = raw_path.split(b"?", 1)[0].decode("latin-1")
    origin = scope.get("sandbox.origin") or f"{scope['scheme']}://{headers.get('host', '')}"
    query = scope["query_string"].decode("latin-1")
    request = Request(scope["method"], path, query, headers, b"", origin, grant=scope.get("sandbox.grant"))
    request.connection = (scope.get("client") or ("", 0))[1]
    return request


async def _read(receive: Receive, limit: int) -> tuple[bytes | None, bool]:
    """The body (None: over the limit, read to its end so that the client hears the answer), and whether it came whole."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None, False
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        else:
            chunks.clear()
        if not message.get("more_body", False):
            return (b"".join(chunks) if size <= limit else None), True


def _headers(reply: Answer) -> list[tuple[bytes, bytes]]:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    if reply.status not in (204, 304):
        if reply.content_type:
            headers.append((b"content-type", reply.content_type.encode("latin-1")))
        length = len(reply.body) if reply.length is None else reply.length
        headers.append((b"content-length", str(length).encode()))
    return headers


async def _send(reply: Answer, head: bool, send: Send) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply)})
    if reply.pieces and not head:
        for piece in reply.pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.body", "body": b"" if head else reply.body})
