"""Wiring of the dashboard: HTTP application, read models kept up with the log, commands over NATS."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from asyncpg.exceptions import CharacterNotInRepertoireError
from fastapi import APIRouter, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute, iter_route_contexts
from opentelemetry.trace import SpanKind
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import compile_path
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.dashboard.adapters.access import Access
from services.dashboard.adapters.commands import NatsCommands
from services.dashboard.adapters.delivery import Deliveries
from services.dashboard.adapters.logins import Logins
from services.dashboard.adapters.oidc import Provider
from services.dashboard.adapters.plan_metrics import PlanMetrics
from services.dashboard.adapters.reads import Reads
from services.dashboard.adapters.secrets import Secrets
from services.dashboard.domain.access import read_mapping, read_token
from services.dashboard.domain.problems import ProblemDocument, ProblemError
from services.dashboard.handlers import (
    analyses,
    checklist,
    connections,
    drafts,
    events,
    invitations,
    logins,
    pages,
    pages_checks,
    pages_connections,
    pages_events,
    pages_report,
    past,
    people,
    planfiles,
    plans,
    settings,
    signin,
    tokens,
    webhooks,
)
from services.dashboard.handlers.context import API, Cookies, Needs, Parts, SignedOut, everybody
from shared.confluence.cloud.oauth import Authorization
from shared.confluence.login import authorization
from shared.events import schema
from shared.events.database import close_pool, open_pool
from shared.events.letters import Letters
from shared.events.projections.base import Pool
from shared.events.projections.registry import READ_PROJECTIONS
from shared.events.projections.runner import Runner
from shared.events.projections.watch import STANDS, Watch
from shared.events.store import UNAVAILABLE, EventStore
from shared.ops import bus, health, tracing
from shared.ops.health import Check, Degraded, OpsServer
from shared.ops.outgoing import Guard
from shared.ops.process import Unavailable
from shared.ops.settings import Settings
from shared.ops.vault import VaultError, read_key

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")

log = structlog.get_logger("dashboard")

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    b"content-security-policy": _CSP.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"content": _PROBLEM, "description": text}
    for status, text in (
        (400, "The request cannot be read as HTTP, or is not for this host."),
        (401, "No valid bearer token."),
        (403, "The token's role does not permit it."),
        (404, "There is no such thing."),
        (409, "Refused by the service that decides about it."),
        (413, "The body is larger than the API takes."),
        (422, "The request is not as the document says."),
        (500, "The dashboard met an error of its own."),
        (502, "The service that decides about it gave an answer that this release does not understand."),
        (504, "The service that decides about it did not answer in time: repeat the request with the same key."),
        (503, "The service that decides about it does not run."),
    )
}


class SecureHeaders:
    """Pure ASGI, so that streams pass through it as they come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *((n, v) for n, v in _HEADERS.items() if n not in given)]
            await send(message)

        await self._app(scope, receive, secured if scope["type"] == "http" else send)


class Traced:
    """A span for every request that may change something: the click. Reads are not traced."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        given = dict(scope["headers"]).get(tracing.HEADER.encode())
        with tracing.span(
            method, SpanKind.SERVER, {"http.request.method": method}, parent=given.decode("latin-1") if given else None
        ) as span:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await self._app(scope, receive, told)
            route = getattr(scope.get("route"), "path", None)
            if route is not None:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)


def create_app(parts: Parts, *, host: str = "127.0.0.1") -> FastAPI:
    """The application. Bound to the loopback, it answers only to the loopback's names: a page elsewhere that has its
    own name resolve to 127.0.0.1 gets nothing."""
    app = _Application(
        title="Cloudward",
        version="1",
        description="Moves Confluence Server and Data Center to Confluence Cloud. Every command takes an `Idempotency-Key`;"
        " its answer carries the log's position, which reads take as `after`.",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        # Its own spans and logs hold paths, queries and messages of errors: names, and the codes of links that log in.
        telemetry={"tracing": False, "operation_spans": False, "logs": False, "metrics": False},
    )
    app.state.parts = parts
    api = APIRouter(prefix=API, responses=_PROBLEMS)
    for router in (
        connections.router,
        logins.api,
        analyses.router,
        people.router,
        checklist.router,
        invitations.router,
        planfiles.router,
        plans.router,
        past.router,
        events.router,
        tokens.router,
        webhooks.router,
    ):
        api.include_router(router)
    app.include_router(api)
    for router in (
        signin.router,
        logins.router,
        pages_connections.router,
        pages_events.router,
        settings.router,
        webhooks.pages,
        drafts.router,
        pages_report.router,
        pages_checks.router,
        pages.router,
    ):
        app.include_router(router)
    needs(app)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(SignedOut, _signed_out)
    app.add_exception_handler(CharacterNotInRepertoireError, _unreadable)
    for kind in UNAVAILABLE:
        if issubclass(kind, Exception):
            app.add_exception_handler(kind, _away)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(SecureHeaders)
    app.add_middleware(Traced)
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    return app


def needs(app: FastAPI) -> dict[tuple[str, str], Needs | None]:
    """What each route (method, path) needs; None: it is open to everybody. Raises RuntimeError for a route that says
    neither: what nobody thought of is refused to all."""
    found: dict[tuple[str, str], Needs | None] = {}
    for route in iter_route_contexts(app.routes):
        if not isinstance(route.original_route, APIRoute):
            continue  # the OpenAPI document and static files: nothing of anybody's
        calls = list(_calls(route.dependant))
        named = [call for call in calls if isinstance(call, Needs)]
        if not named and everybody not in calls:
            raise RuntimeError(f"{route.path} does not say who may call it: give its router Depends(Needs(…)).")
        for method in route.methods or ():
            found[method, route.path or ""] = named[-1] if named else None
    return found


def _calls(dependant: Dependant) -> Iterator[object]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)


class _Application(FastAPI):
    """Adds to the OpenAPI document what FastAPI does not know of: the bearer token (the check itself is ``context.Needs``), and
    that everything that goes wrong is told as a problem. The document is made when somebody first asks for it."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            components = document.setdefault("components", {})
            components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            schemas = components.setdefault("schemas", {})
            schemas["ProblemDocument"] = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            document["security"] = [{"bearer": []}]
            self.openapi_schema = document
        return self.openapi_schema


def _methods(request: Request) -> str:
    """What the document names for the path of a request, for the header ``Allow``."""
    path = request.url.path
    paths = request.app.openapi()["paths"]
    found = {verb.upper() for known, verbs in paths.items() for verb in verbs if compile_path(known)[0].match(path)}
    return ", ".join(sorted(found))


def _names(node: object) -> Iterator[str]:
    """Of every parameter and field that the API describes."""
    if isinstance(node, dict):
        if isinstance(properties := node.get("properties"), dict):
            yield from properties
        if isinstance(name := node.get("name"), str) and "in" in node:
            yield name
        for each in node.values():
            yield from _names(each)
    elif isinstance(node, list):
        for each in node:
            yield from _names(each)


def _answer(request: Request, error: ProblemError) -> Response:
    if not request.url.path.startswith(API):
        return pages.problem_page(request, error)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    if error.status == 405:
        headers = {"Allow": _methods(request)}
    content = error.document.model_dump(mode="json")
    return JSONResponse(content, error.status, headers, media_type="application/problem+json")


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return _answer(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if error.errors() and all(e["loc"][0] == "path" for e in error.errors()):
        detail = "There is nothing at this address: an id has 32 hexadecimal digits."
        return _answer(request, ProblemError("not_found", 404, detail, f"{API}/openapi.json lists what there is."))
    # The values stay out of the answer, since one of them may be a password, and so does what was sent as a name.
    known = {"body", "query", "path", "header", *_names(request.app.openapi())}
    findings = [
        {"place": ".".join(str(p) if isinstance(p, int) or p in known else "?" for p in e["loc"]), "message": e["msg"]}
        for e in error.errors()
    ]
    first = findings[0] if findings else {"place": "body", "message": "not valid"}
    detail = f"The request is not as the API takes it: {first['place']}: {first['message']}."
    way_on = f"Mend it and send it again; {API}/openapi.json describes every field."
    return _answer(request, ProblemError("invalid_request", 422, detail, way_on, findings))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    detail = f"{request.method} at this address: {error.detail}."
    return _answer(request, ProblemError(code, error.status_code, detail, f"{API}/openapi.json lists what there is."))


async def _signed_out(request: Request, error: Exception) -> Response:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return signin.signed_out(request.app.state.parts, path if request.method == "GET" else None, status=401)


async def _unreadable(request: Request, error: Exception) -> Response:
    detail = "A text in the request holds a character that no text may hold (U+0000)."
    return _answer(request, ProblemError("invalid_request", 422, detail, "Take it out and send the request again."))


async def _away(request: Request, error: Exception) -> Response:
    log.warning("request_without_database", method=request.method, error=type(error).__name__)
    detail = "The database does not answer, so nothing can be shown and nothing was recorded."
    way_on = "Try again in a moment; /readyz of the dashboard says when it is back."
    return _answer(request, ProblemError("database_unavailable", 503, detail, way_on))


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request_failed", method=request.method, error=type(error).__name__, exc_info=error)
    detail = "The dashboard met an error of its own; nothing was recorded that its answer did not say."
    way_on = "Try again. If it stays, its log says more under request_failed."
    return _answer(request, ProblemError("unexpected_error", 500, detail, way_on))


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """The dashboard's process, until ``stop`` is set. Raises Unavailable if it cannot be what it is for."""
    token, key, who = _token(settings), _vault_key(settings), _identity(settings)
    guard = _guard(settings)
    server = _authorization(settings)
    listener = _listen(settings)
    pool = await open_pool(settings, application="dashboard")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(close_pool, pool)
        async with pool.acquire() as connection:
            await schema.check(connection)
        store = await stack.enter_async_context(EventStore(pool))
        access = Access(pool, store, token)
        await access.introduce()
        client = await bus.connect(settings, "dashboard")
        stack.push_async_callback(client.close)
        runners = tuple(Runner(pool, store, projection) for projection in READ_PROJECTIONS)
        port = int(listener.getsockname()[1])
        checks = {
            "database": health.database(pool, writing=False),
            "nats": _talks(bus.connected(client)),
            **{f"projection {runner.projection.name}": _moves(pool, runner) for runner in runners},
        }
        ops = OpsServer(settings, "dashboard", checks, ports={"http_port": port})
        parts = Parts(
            Reads(pool),
            Secrets(pool, key),
            NatsCommands(client, Letters(pool)),
            store,
            runners,
            access,
            stop,
            Logins(pool, key, server, settings.request_timeout),
            guard=guard,
            notices=_notices(ops, runners),
            **who,
        )
        app = create_app(parts, host=settings.http_host)
        await stack.enter_async_context(ops)
        _tell(settings, port)
        running = [asyncio.create_task(runner.run(stop)) for runner in runners]
        running.append(asyncio.create_task(PlanMetrics(pool).run(stop)))
        deliveries = Deliveries(pool, store, key, guard, who["public_url"])
        running.append(asyncio.create_task(deliveries.run(stop)))
        log.info("serving", port=port)
        await _http_server(app, listener, stop, ops)
        await asyncio.gather(*running)


class _Server(uvicorn.Server):
    """Signals are ``run_service``'s: uvicorn would take them away from it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _http_server(app: FastAPI, listener: socket.socket, stop: asyncio.Event, ops: OpsServer) -> None:
    # Streams end by ``stop``; the timeout is for a client that neither reads nor closes.
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=3, server_header=False
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    ops.end()
    server.should_exit = True
    await serving


def _token(settings: Settings) -> str:
    if settings.token_file is None:
        raise Unavailable(
            "The API has no token: set CLOUDWARD_TOKEN_FILE to a file with at least 16 random characters."
        )
    try:
        return read_token(settings.token_file)
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"The API's token cannot be read from {settings.token_file} ({type(error).__name__})."
            " It must be a readable file with at least 16 characters."
        ) from error


def _identity(settings: Settings) -> dict[str, Any]:
    """What ``Parts`` has about logging in: the identity provider, the roles of its groups, our own address."""
    if settings.http_host not in LOOPBACK and settings.public_url is None:
        raise Unavailable(
            f"The dashboard would listen on {settings.http_host}, where others reach it, and does not know its own address."
            " Set CLOUDWARD_PUBLIC_URL to the address that browsers use: https, where it is not this machine's own."
        )
    public = (settings.public_url or "").rstrip("/") or None
    provider = None
    if settings.oidc_issuer is not None:
        if settings.oidc_client_id is None:
            raise Unavailable("CLOUDWARD_OIDC_ISSUER is set and CLOUDWARD_OIDC_CLIENT_ID is not: set both or neither.")
        file = settings.oidc_client_secret_file
        try:
            secret = file.read_text(encoding="utf-8").strip() if file else None
        except OSError as error:
            raise Unavailable(f"The identity provider's client secret cannot be read from {file}.") from error
        provider = Provider(settings.oidc_issuer, settings.oidc_client_id, secret, settings.oidc_groups_claim)
    try:
        roles = read_mapping(settings.oidc_roles)
    except ValueError as error:
        raise Unavailable(f"CLOUDWARD_OIDC_ROLES: {error}") from error
    cookies = Cookies(secure=bool(public and public.startswith("https://")))
    return {"provider": provider, "roles": roles, "public_url": public, "cookies": cookies}


def _vault_key(settings: Settings) -> bytes | None:
    """None: this deployment takes credentials as references only."""
    if settings.secret_key_file is None:
        return None
    try:
        return read_key(settings.secret_key_file)
    except VaultError as error:
        raise Unavailable(str(error)) from error


def _guard(settings: Settings) -> Guard:
    """What webhooks may call."""
    try:
        return Guard(settings.outgoing_allow)
    except ValueError as error:
        raise Unavailable(f"CLOUDWARD_OUTGOING_ALLOW: {error}.") from error


def _authorization(settings: Settings) -> Authorization | None:
    """None: nobody logs in to a site with an Atlassian account here."""
    try:
        return authorization(settings)
    except VaultError as error:
        raise Unavailable(str(error)) from error


def _listen(settings: Settings) -> socket.socket:
    """Bound before anything else is opened: a port that is taken is told at once."""
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.http_host, settings.http_port))
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"The dashboard cannot listen on {settings.http_host}:{settings.http_port}: {error.strerror}."
            " Choose another CLOUDWARD_HTTP_PORT; 0 takes a free one."
        ) from error
    return listener


def _tell(settings: Settings, port: int) -> None:
    """Writes the address where the command line and people look for it."""
    host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
    file = settings.data / "run" / "dashboard.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    told = {}
    if settings.run_file is not None and settings.run_file.resolve() == file.resolve():
        told = json.loads(file.read_text())  # process id and ports, already there
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(json.dumps({**told, "url": f"http://{host}:{port}"}))
    beside.replace(file)


def _talks(connected: Callable[[], Awaitable[None]]) -> Check:
    """Pages are read without NATS: only commands wait for it."""

    async def check() -> None:
        try:
            await connected()
        except Exception as error:
            raise Degraded(
                "NATS does not answer: nothing can be started or stopped. What is recorded can be read."
            ) from error

    return check


def _moves(pool: Pool, runner: Runner) -> Check:
    watch, name = Watch(pool, runner.projection.schema, runner.projection.name), runner.projection.name

    async def check() -> None:
        seen = await watch.look()
        if runner.state.sentence is not None:
            raise Degraded(runner.state.sentence)
        if seen.stands:
            raise Degraded(
                f"“{name}” has stood still at event {seen.position} of {seen.head} for more than {STANDS:.0f} s."
                " What the pages show is true up to there."
            )

    return check


def _notices(ops: OpsServer, runners: Sequence[Runner]) -> Callable[[], list[str]]:
    """What every page says at its top: all that is degraded, in sentences."""

    def sentences() -> list[str]:
        told = [r.state.sentence for r in runners if r.state.sentence is not None]
        checked = [result.detail for result in ops.results().values() if result.state == "degraded"]
        return list(dict.fromkeys([*told, *(text[:1].upper() + text[1:] for text in checked)]))

    return sentences
