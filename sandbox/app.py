"""One process that serves several instances, each on a port of its own, and an administration that tests talk to."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as AdminRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.cloud.canonical import canonical
from sandbox.cloud.site import Cloud
from sandbox.cloud.v1_content import media_answer
from sandbox.faults import BadRule
from sandbox.front import Front, Latency
from sandbox.hosted import Hosted
from sandbox.journal import Journal
from sandbox.wire import Answer, Document, Request, answer

Kind = Literal["cloud", "server"]


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


class Sandbox:
    """The running process: start it, add sites, stop it."""

    def __init__(self, instances: list[Instance], admin_port: int = 0, host: str = "127.0.0.1") -> None:
        self.host = host
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
        if instance.kind == "cloud":
            cloud = Cloud(instance.name, options)
            cloud.site.media_base = f"http://{self.host}:{self.media_port}"
            front = Front(cloud, journal, latency)
        elif instance.kind == "server":
            # Loaded only where it is asked for: the sample content takes a moment.
            for name in ("journal", "latency"):
                options.pop(name, None)
            front = Front(Hosted(import_module("sandbox.server").build(instance.name, options)), journal, latency)
        else:
            raise ValueError("kind must be cloud or server")
        self.fronts[instance.name] = front
        self.kinds[instance.name] = instance.kind
        self.ports[instance.name] = await self._listen(front, instance.port)
        return self.ports[instance.name]

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

    def url(self, name: str) -> str:
        """The address of an instance, without ``/wiki``."""
        return f"http://{self.host}:{self.ports[name]}"

    def document(self) -> Document:
        """What the command prints when ready, and ``GET /instances`` answers."""
        return {
            "admin": {"port": self.admin_port, "url": self.admin_url},
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
) -> None:
    """Serve until cancelled. ``ready`` is called once every port listens."""
    async with Sandbox(instances, admin_port, host) as sandbox:
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
        entries = front.journal.after(after, limit)
        return JSONResponse({"entries": [entry.document() for entry in entries], "last": front.journal.last})

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

    async def release(request: AdminRequest) -> Response:
        front = front_of(request)
        if front is None or not front.faults.release(request.path_params["id"]):
            return _problem(404, "no such fault")
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/instances", instances, methods=["GET", "POST"]),
            Route("/sites/{name}/journal", journal),
            Route("/sites/{name}/created", created),
            Route("/sites/{name}/canonical", site_document),
            Route("/sites/{name}/mails", mails),
            Route("/sites/{name}/faults", faults, methods=["GET", "POST", "DELETE"]),
            Route("/sites/{name}/faults/{id}/release", release, methods=["POST"]),
        ]
    )
