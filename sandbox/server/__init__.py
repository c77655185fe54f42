"""A stand-in for one instance of Confluence Server or Data Center, as far as a migration reads it.

It is strict where the real one is strict. Known logins: the personal access token ``sandbox-pat`` and ``admin``/``admin``,
both an administrator's; every other active user's password is their user name.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from sandbox.sample import generate, sample
from sandbox.sample.model import Instance
from sandbox.server import backup
from sandbox.server.auth import Door
from sandbox.server.call import Call
from sandbox.server.errors import Refusal
from sandbox.server.journal import Journal
from sandbox.server.limits import RateLimit, firewall
from sandbox.server.rest import ROUTES, Handler
from sandbox.server.rpc import answer
from sandbox.server.viewer import Viewer
from sandbox.versions import Version

TOKEN = "sandbox-pat"
PASSWORDS = {"admin": "admin"}
BODY_LIMIT = 5_242_880

Endpoint = Callable[[Request], Awaitable[Response]]


def build(options: dict[str, Any]) -> Starlette:
    """One instance as an application. Options, all but ``version`` optional:

    ``version`` ("7.19.0"), ``seed`` (7), ``sample`` ("north" | "south" | "pocket") or ``generate`` (keywords of
    ``sandbox.sample.generate``) or ``model`` (an Instance), ``base_url`` (default: the address it is asked at), ``context``
    ("" or "/wiki"), ``tokens`` (token to user name), ``passwords`` (user name to password), ``rpc`` (False: the remote API
    is switched off), ``rate_limit`` (see ``RateLimit``), ``firewall`` (True: only what looks like a browser is let in).

    ``app.state``: ``journal`` (a list of requests, see ``Journal``), ``instance``, ``backups``, ``fault`` (None, or an async function of
    the request that may answer instead).
    """
    version = Version(str(options["version"]))
    seed = int(options.get("seed", 7))
    instance: Instance
    if "model" in options:
        instance = options["model"]
    elif "generate" in options:
        instance = generate(seed, **options["generate"])
    else:
        instance = sample(seed, options.get("sample", "north"))
    viewers: dict[str | None, Viewer] = {}
    context = str(options.get("context", ""))
    base_url = options.get("base_url")
    door = Door(
        instance,
        version,
        dict(options.get("tokens") or {TOKEN: "admin"}),
        {**PASSWORDS, **(options.get("passwords") or {})},
        str(base_url or ""),
    )

    limit = RateLimit(version, options.get("rate_limit"))

    def call_of(request: Request) -> Call:
        if options.get("firewall"):
            firewall(request.headers.get("user-agent", ""))
        base = str(base_url).rstrip("/") if base_url else f"{request.url.scheme}://{request.url.netloc}{context}"
        user = door.user(request.headers.get("authorization"))
        if user is not None:
            request.scope["state"]["journal_entry"]["user"] = user.username
            request.scope["state"]["limits"] = limit.take(user.username)
        # Kept, since finding somebody's groups costs more than most answers.
        viewer = viewers.setdefault(user.key if user else None, Viewer(instance, user))
        return Call(request, instance, version, viewer, base, context)

    def dressed(call: Call, response: Response) -> Response:
        """Headers of every answer to someone who is logged in."""
        if call.viewer.user is not None:
            response.headers["X-Seraph-LoginReason"] = "OK"
            response.headers.update(call.request.scope["state"].get("limits", {}))
        return response

    def reading(handler: Handler) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            call = call_of(request)
            if request.method not in {"GET", "HEAD"}:
                return dressed(call, await refuse_write(request))
            return dressed(call, handler(call))

        return endpoint

    backups = backup.Backups(instance, version)

    def of_backups(handler: Callable[..., Response]) -> Endpoint:
        """Jobs may be asked for: the one change that is let in. Anything else but reading needs the header against XSRF."""

        async def endpoint(request: Request) -> Response:
            call = call_of(request)
            if request.method == "GET":
                return dressed(call, handler(call, backups))
            if "x-atlassian-token" not in request.headers:
                return dressed(call, Response("XSRF check failed", 403))
            if request.method == "PUT":
                return dressed(call, handler(call, backups))
            try:
                asked = await request.json()
            except ValueError:
                raise Refusal(400, "The settings are no JSON.") from None
            return dressed(call, handler(call, backups, asked))

        return endpoint

    async def refuse_write(request: Request) -> Response:
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > BODY_LIMIT:
            message = f"Request too large. Requests for this resource can be at most {BODY_LIMIT} bytes"
            return JSONResponse({"statusCode": 413, "message": message}, 413)
        if "x-atlassian-token" not in request.headers and not request.headers.get("content-type", "").startswith(
            "application/json"
        ):
            return Response("XSRF check failed", 403)
        return Refusal(403, "This instance is only read from.").response()

    async def remote(request: Request) -> Response:
        call = call_of(request)
        method = request.path_params["method"]
        return dressed(call, JSONResponse(answer(call, method, await request.json())))

    async def front(request: Request) -> Response:
        head = f'<meta name="ajs-version-number" content="{version.text}"><meta name="ajs-build-number" content="{version.build}">'
        return HTMLResponse(
            f"<!DOCTYPE html><html><head>{head}<title>{instance.name}</title></head><body></body></html>"
        )

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return error.response()

    async def missing(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        try:  # the login comes before the look for what is asked
            door.user(request.headers.get("authorization"))
        except Refusal as refusal:
            return refusal.response()
        if request.method not in {"GET", "HEAD"} and status != 404:
            return await refuse_write(request)
        return Refusal(status, f"null for uri: {request.url}", plain=True).response()

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    routes = [Route(path, reading(handler), methods=methods) for path, handler, needs in ROUTES if version.has(needs)]
    if version.has("json-rpc") and options.get("rpc", True):
        routes.append(Route("/rpc/json-rpc/confluenceservice-v2/{method}", remote, methods=["POST"]))
    if version.has("backup-restore"):
        routes += [
            Route(f"/rest/api/backup-restore{path}", of_backups(handler), methods=[method])
            for path, handler, method in (
                ("/backup/site", backup.start_site, "POST"),
                ("/backup/space", backup.start_spaces, "POST"),
                ("/jobs", backup.jobs, "GET"),
                ("/jobs/{job}", backup.job, "GET"),
                ("/jobs/{job}/cancel", backup.cancel, "PUT"),
                ("/jobs/{job}/download", backup.download, "GET"),
            )
        ]
    routes += [Route(path, front) for path in ("/", "/login.action", "/dashboard.action")]
    journal: list[dict[str, Any]] = []
    app = Starlette(
        routes=[Mount(context, routes=routes)] if context else routes,
        middleware=[Middleware(Journal, entries=journal)],
        exception_handlers={Refusal: refused, HTTPException: missing},
    )
    app.state.journal = journal
    app.state.instance, app.state.version = instance, version
    app.state.fault = None
    app.state.backups = backups
    app.router.redirect_slashes = False
    return app


__all__ = ["PASSWORDS", "TOKEN", "build"]
