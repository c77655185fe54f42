"""One process that serves several instances, each on a port of its own, and an administration that tests talk to."""

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any, Literal, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as AdminRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.cloud.access import AccessLog
from sandbox.cloud.canonical import canonical
from sandbox.cloud.oauth import Authorization
from sandbox.cloud.site import Cloud
from sandbox.cloud.state import Site
from sandbox.cloud.v1_content import media_answer
from sandbox.faults import BadRule, Rule
from sandbox.front import Front, Latency, RateLimit, Receive, Scope, Send
from sandbox.hosted import Hosted
from sandbox.journal import FILTERS, Journal, Wanted
from sandbox.wire import Answer, Document, Request, answer

Kind = Literal["cloud", "server"]
ATLASSIAN = "atlassian"


@dataclass
class Instance:
    """What to serve. ``port`` 0 takes a free one. ``options``: see the README beside this file."""

    name: str
    kind: Kind
    port: int = 0
    options: Document = field(default_factory=dict)


class _Protocol(HttpToolsProtocol):
    """Hands the transport on, so that a fault can cut the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["sandbox.transport"] = self.transport


class _Server(uvicorn.Server):
    """Several servers share a process, so none of them takes the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Media:
    """The store of files behind signed addresses: another origin, so that clients must drop their credentials."""

    upload_limit = 0

    def __init__(self, sites: dict[str, Front]) -> None:
        self._sites = sites

    def resolve(self, request: Request) -> None:
        request.route = "/{site}/file/{id}/{version}/binary"
        request.account = "signed"

    async def handle(self, request: Request) -> Answer:
        parts = request.path.strip("/").split("/")
        front = self._sites.get(parts[0])
        back = front.back if front is not None else None
        if len(parts) != 5 or not isinstance(back, Cloud):
            return answer({"error": {"code": "NotFound"}}, 404)
        return media_answer(back.site, request, parts[2], parts[3])

    def too_large(self, request: Request, limit: int) -> Answer:
        del request, limit
        return Answer(413)

    def befall(self, rule: Rule, request: Request | None) -> None:
        del rule, request


_GATEWAY = re.compile(rb"/ex/(confluence|jira)/([0-9a-f-]{36})(/.*)")
_PRODUCT_PATHS = {b"confluence": b"/wiki/", b"jira": b"/rest/"}


class _Gateway:
    """api.atlassian.com: sends what a token opens on to its site, the rest to the authorization server."""

    def __init__(self, sandbox: "Sandbox", front: Front) -> None:
        self._sandbox, self._front = sandbox, front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: bytes = (scope.get("raw_path") or scope["path"].encode()).split(b"?", 1)[0]
        match = _GATEWAY.fullmatch(path)
        found = self._site(match[2].decode()) if match and match[3].startswith(_PRODUCT_PATHS[match[1]]) else None
        if match and found is not None:
            name, front, cloud = found
            header = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"authorization"), None)
            grant = self._sandbox.authorization.grant(header) or cloud.scoped(header)
            if grant is not None and cloud.site.cloud_id in grant.sites:
                inside = {
                    **scope,
                    "path": match[3].decode("latin-1"),
                    "raw_path": match[3],
                    "sandbox.grant": grant,
                    "sandbox.origin": self._sandbox.url(name),
                }
                await front(inside, receive, send)
                return
        await self._front(scope, receive, send)

    def _site(self, cloud_id: str) -> tuple[str, Front, Cloud] | None:
        for name, front in self._sandbox.fronts.items():
            if isinstance(front.back, Cloud) and front.back.site.cloud_id == cloud_id:
                return name, front, front.back
        return None


class Sandbox:
    """The running process: start it, add sites, stop it."""

    def __init__(
        self,
        instances: list[Instance],
        admin_port: int = 0,
        host: str = "127.0.0.1",
        atlassian_port: int = 0,
        oauth: Document | None = None,
    ) -> None:
        self.host = host
        self.authorization = Authorization(self._cloud_sites)
        self.authorization.settings.change(oauth or {})
        self.atlassian_port = atlassian_port
        self.fronts: dict[str, Front] = {}
        self.kinds: dict[str, Kind] = {}
        self.ports: dict[str, int] = {}
        self.admin_port = admin_port
        self.media_port = 0
        self._instances = instances
        self._servers: list[tuple[_Server, asyncio.Task[None]]] = []

    async def start(self) -> None:
        """Listen on every port. Raises ``OSError`` where one is taken, ``ValueError`` for options that are unknown."""
        media = Front(_Media(self.fronts), Journal(10_000), Latency(None))
        self.media_port = await self._listen(media, 0)
        # Its journal and faults are those of an instance named "atlassian".
        front = self.fronts[ATLASSIAN] = Front(self.authorization, Journal(10_000), Latency(None))
        self.atlassian_port = await self._listen(_Gateway(self, front), self.atlassian_port)
        for instance in self._instances:
            await self.add(instance)
        self.admin_port = await self._listen(_admin(self), self.admin_port)

    async def add(self, instance: Instance) -> int:
        """Serve one more instance. Answers its port. Raises ``ValueError`` where the name is taken or not fit."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", instance.name):
            raise ValueError("a name has up to 61 letters, digits, dots, dashes and underscores")
        if instance.name in self.fronts:
            raise ValueError(f"an instance named {instance.name!r} is already served")
        options = dict(instance.options)
        journal, latency = Journal(int(options.get("journal", 200_000))), Latency(options.get("latency"))
        rules = options.get("faults", [])
        if instance.kind == "cloud":
            cloud = Cloud(instance.name, options)
            cloud.site.media_base = f"http://{self.host}:{self.media_port}"
            front = Front(cloud, journal, latency, RateLimit(options.get("rate_limit")))
            if watched := options.get("watched"):
                front.access = AccessLog(cloud.site, list(watched))
                front.access.look(0, time.time())
        elif instance.kind == "server":
            # Loaded only where it is asked for: the sample content takes a moment.
            for name in ("journal", "latency", "faults"):
                options.pop(name, None)
            # Its rate limit is its own: a bucket for each user, as Data Center has them.
            front = Front(Hosted(import_module("sandbox.server").build(options)), journal, latency)
        else:
            raise ValueError("kind must be cloud or server")
        for rule in rules:
            front.faults.add(rule)
        self.fronts[instance.name] = front
        self.kinds[instance.name] = instance.kind
        self.ports[instance.name] = await self._listen(front, instance.port)
        return self.ports[instance.name]

    def _cloud_sites(self) -> Iterator[tuple[Site, str]]:
        for name, front in self.fronts.items():
            if isinstance(front.back, Cloud):
                yield front.back.site, self.url(name)

    async def _listen(self, app: Any, port: int) -> int:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.host, port))
        except OSError:
            listening.close()
            raise
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="critical",
            log_config=None,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
            backlog=512,
        )
        server = _Server(config)
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[listening]))
        self._servers.append((server, task))
        while not server.started:
            if task.done():
                await task
                raise OSError("the server ended before it listened")
            await asyncio.sleep(0.005)
        return int(listening.getsockname()[1])

    async def stop(self) -> None:
        for front in self.fronts.values():
            front.faults.clear()
        for server, _ in self._servers:
            server.should_exit = True
        await asyncio.gather(*(task for _, task in self._servers), return_exceptions=True)
        self._servers.clear()

    async def __aenter__(self) -> "Sandbox":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def admin_url(self) -> str:
        return f"http://{self.host}:{self.admin_port}"

    @property
    def atlassian_url(self) -> str:
        """Authorization server and gateway of all sites."""
        return f"http://{self.host}:{self.atlassian_port}"

    def url(self, name: str) -> str:
        """The address of an instance, without ``/wiki``."""
        return f"http://{self.host}:{self.ports[name]}"

    def document(self) -> Document:
        """What the command prints when ready, and ``GET /instances`` answers."""
        return {
            "admin": {"port": self.admin_port, "url": self.admin_url},
            "atlassian": {"port": self.atlassian_port, "url": self.atlassian_url},
            "instances": [
                {"name": name, "kind": self.kinds[name], "port": port, "url": self.url(name)}
                for name, port in self.ports.items()
            ],
        }


async def serve(
    instances: list[Instance],
    admin_port: int = 0,
    host: str = "127.0.0.1",
    ready: Callable[[Sandbox], None] | None = None,
    atlassian_port: int = 0,
    oauth: Document | None = None,
) -> None:
    """Serve until cancelled. ``ready`` is called once every port listens."""
    async with Sandbox(instances, admin_port, host, atlassian_port, oauth) as sandbox:
        if ready is not None:
            ready(sandbox)
        await asyncio.get_running_loop().create_future()


def _problem(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)


def _admin(sandbox: Sandbox) -> Starlette:
    """The administration. It is no part of what is stood in for."""

    def front_of(request: AdminRequest) -> Front | None:
        return sandbox.fronts.get(request.path_params["name"])

    def cloud_of(request: AdminRequest) -> Cloud | None:
        front = front_of(request)
        return front.back if front is not None and isinstance(front.back, Cloud) else None

    async def instances(request: AdminRequest) -> Response:
        if request.method == "GET":
            return JSONResponse(sandbox.document())
        try:
            document = await request.json()
            instance = Instance(
                document["name"], document.get("kind", "cloud"), document.get("port", 0), document.get("options", {})
            )
            port = await sandbox.add(instance)
        except (ValueError, KeyError, TypeError) as error:
            return _problem(400, str(error))
        except OSError as error:
            return _problem(409, str(error))
        return JSONResponse({"name": instance.name, "port": port, "url": sandbox.url(instance.name)}, 201)

    async def journal(request: AdminRequest) -> Response:
        front = front_of(request)
        if front is None:
            return _problem(404, "no such instance")
        after = int(request.query_params.get("after", "0"))
        limit = int(request.query_params.get("limit", "10000"))
        wanted = Wanted(**{name: request.query_params.get(name) for name in FILTERS})
        entries = front.journal.after(after, limit, wanted)
        return JSONResponse({"entries": [entry.document() for entry in entries], "last": front.journal.last})

    async def access(request: AdminRequest) -> Response:
        front = front_of(request)
        if front is None or front.access is None:
            return _problem(404, "no such instance, or nobody is watched on it")
        return JSONResponse(
            front.access.document(request.query_params.get("account"), request.query_params.get("identity"))
        )

    async def created(request: AdminRequest) -> Response:
        front = front_of(request)
        if front is None:
            return _problem(404, "no such instance")
        return JSONResponse({"created": front.journal.creations(int(request.query_params.get("least", "1")))})

    async def site_document(request: AdminRequest) -> Response:
        cloud = cloud_of(request)
        if cloud is None:
            return _problem(404, "no such cloud site")
        text = json.dumps(canonical(cloud.site), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return Response(text.encode("utf-8", "surrogatepass"), media_type="application/json")

    async def mails(request: AdminRequest) -> Response:
        cloud = cloud_of(request)
        if cloud is None:
            return _problem(404, "no such cloud site")
        return JSONResponse(
            {"mails": [{"to": mail.to, "kind": mail.kind, "text": mail.text} for mail in cloud.site.mails]}
        )

    async def faults(request: AdminRequest) -> Response:
        front = front_of(request)
        if front is None:
            return _problem(404, "no such instance")
        if request.method == "DELETE":
            front.faults.clear()
            return Response(status_code=204)
        if request.method == "POST":
            try:
                rules = await request.json()
                added = [front.faults.add(rule) for rule in (rules if isinstance(rules, list) else [rules])]
            except (BadRule, ValueError, TypeError, AttributeError) as error:
                return _problem(400, str(error))
            return JSONResponse({"faults": [rule.document() for rule in added]}, 201)
        return JSONResponse({"faults": [rule.document() for rule in front.faults.rules.values()]})

    async def edits(request: AdminRequest) -> Response:
        """Somebody works at the source."""
        front = front_of(request)
        if front is None or not isinstance(front.back, Hosted):
            return _problem(404, "no such server")
        from sandbox.sample.edits import EditError, apply  # the sample content is loaded only where it is asked for

        try:
            for edit in await request.json():
                apply(front.back.app.state.instance, edit)
        except (ValueError, EditError) as error:
            return _problem(400, str(error))
        return Response(status_code=204)

    async def latency(request: AdminRequest) -> Response:
        front = front_of(request)
        if front is None:
            return _problem(404, "no such instance")
        try:
            document = await request.json()
            front.latency = Latency(document.get("latency"))
            front.limit = RateLimit(document.get("rate_limit"))
        except (ValueError, TypeError, AttributeError) as error:
            return _problem(400, str(error))
        return Response(status_code=204)

    async def release(request: AdminRequest) -> Response:
        front = front_of(request)
        if front is None or not front.faults.release(request.path_params["id"]):
            return _problem(404, "no such fault")
        return Response(status_code=204)

    async def oauth(request: AdminRequest) -> Response:
        authorization = sandbox.authorization
        if request.method == "PUT":
            try:
                authorization.settings.change(await request.json())
            except (ValueError, AttributeError) as error:
                return _problem(400, str(error))
        return JSONResponse(asdict(authorization.settings))

    async def expire(request: AdminRequest) -> Response:
        sandbox.authorization.expire(request.query_params.get("email"))
        return Response(status_code=204)

    async def revoke(request: AdminRequest) -> Response:
        return JSONResponse({"revoked": sandbox.authorization.revoke(request.query_params.get("email"))})

    return Starlette(
        routes=[
            Route("/oauth", oauth, methods=["GET", "PUT"]),
            Route("/oauth/revoke", revoke, methods=["POST"]),
            Route("/oauth/expire", expire, methods=["POST"]),
            Route("/instances", instances, methods=["GET", "POST"]),
            Route("/sites/{name}/journal", journal),
            Route("/sites/{name}/access", access),
            Route("/sites/{name}/created", created),
            Route("/sites/{name}/canonical", site_document),
            Route("/sites/{name}/mails", mails),
            Route("/sites/{name}/pace", latency, methods=["PUT"]),
            Route("/sites/{name}/edits", edits, methods=["POST"]),
            Route("/sites/{name}/faults", faults, methods=["GET", "POST", "DELETE"]),
            Route("/sites/{name}/faults/{id}/release", release, methods=["POST"]),
        ]
    )
