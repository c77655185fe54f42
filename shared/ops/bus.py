"""Connections to NATS: one user per service, an inbox of its own, patience at the start and no end of reconnecting."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import nats
import nats.errors
import nats.js.errors
import structlog
from faststream import AckPolicy
from faststream.nats import NatsBroker
from faststream.nats.security import NatsSecurity, NatsUserPassword
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerInfo

from shared.events import topology
from shared.ops import metrics
from shared.ops.health import Failed
from shared.ops.process import Unavailable
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

_REFUSED_PAUSE = 1.0
# A request ends after 5 s at the latest.
_TURN = 9.0


class NatsUnavailable(Unavailable):
    """NATS is away for longer than the caller's patience, or refuses this process."""


def options(settings: Settings, name: str) -> dict[str, Any]:
    """What both kinds of connection pass to nats-py: servers, credentials, inbox, reconnecting for ever.

    Each user may only listen on inboxes of its own name (``_INBOX_<user>``), so the prefix is not a matter of taste.
    Raises NatsUnavailable if the password file cannot be read.
    """
    found: dict[str, Any] = {
        "servers": [server.strip() for server in settings.nats_url.split(",")],
        "name": name,
        "allow_reconnect": True,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.5,
        "connect_timeout": 3,
        "ping_interval": 5,
        "max_outstanding_pings": 2,
    }
    if settings.nats_user is not None:
        found["user"] = settings.nats_user
        found["inbox_prefix"] = inbox_prefix(settings)
    if settings.nats_password_file is not None:
        try:
            found["password"] = settings.nats_password_file.read_text().strip()
        except OSError as error:
            raise NatsUnavailable(
                f"The NATS password cannot be read from {settings.nats_password_file}: {error.strerror}."
                " Check CLOUDWARD_NATS_PASSWORD_FILE and the file's owner."
            ) from error
    if settings.nats_ca_file is not None:
        try:
            found["tls"] = ssl.create_default_context(cafile=str(settings.nats_ca_file))
        except (OSError, ssl.SSLError) as error:
            raise NatsUnavailable(
                f"NATS's certificates cannot be read from {settings.nats_ca_file}: {error}. Check CLOUDWARD_NATS_CA_FILE."
            ) from error
        # Otherwise the client goes on in the clear with a server that does not ask for TLS.
        found["tls_handshake_first"] = True
    return found


def inbox_prefix(settings: Settings) -> bytes:
    """The start of this user's inboxes, without the dot. Nothing inherits it: FastStream's pull subscribers need it
    passed one by one, *with* a dot, or start without an error and never get a message."""
    return f"_INBOX_{settings.nats_user}".encode() if settings.nats_user else b"_INBOX"


async def connect(
    settings: Settings,
    name: str,
    *,
    patience: float | None = None,
    on_reconnect: Callable[[], None] | None = None,
) -> Client:
    """A connection that reconnects for ever once it was there. ``name`` is shown by the server.

    At the start tries for ``patience`` seconds (``settings.start_patience``). Raises NatsUnavailable; at once if NATS refuses the credentials.
    """
    loop = asyncio.get_running_loop()
    patience = settings.start_patience if patience is None else patience
    deadline, pause, said = loop.time() + patience, 0.1, False
    wanted = options(settings, name)
    while True:
        reasons: list[Exception] = []
        try:
            return await asyncio.wait_for(_try(wanted, reasons, on_reconnect), timeout=4)
        except (OSError, TimeoutError, nats.errors.Error) as error:
            reason = reasons[-1] if reasons else error
        text = str(reason).strip() or type(reason).__name__
        if "authorization" in text.lower() or "authentication" in text.lower():
            raise NatsUnavailable(
                f"NATS at {_place(settings)} refuses the user {settings.nats_user}: {text}."
                " Check CLOUDWARD_NATS_USER and the password file."
            )
        if loop.time() + pause > deadline:
            raise NatsUnavailable(
                f"NATS at {_place(settings)} does not answer ({text}), tried for {patience:g} s."
                " Start it, or set CLOUDWARD_NATS_URL to where it is."
            )
        if not said:
            log.warning("NATS does not answer yet, trying on", at=_place(settings), kind=type(reason).__name__)
            said = True
        await asyncio.sleep(pause)
        pause = min(pause * 2, 2.0)


async def _try(wanted: dict[str, Any], reasons: list[Exception], on_reconnect: Callable[[], None] | None) -> Client:
    client = Client()
    all_failed = asyncio.Event()

    async def on_error(error: Exception) -> None:
        if client.is_connected:
            log.warning("NATS reports an error", kind=type(error).__name__, detail=str(error))
        else:
            reasons.append(error)
            if len(reasons) >= len(wanted["servers"]):
                all_failed.set()

    async def on_disconnected() -> None:
        if not client.is_closed:
            log.warning("NATS is away, reconnecting")

    async def on_reconnected() -> None:
        log.info("NATS is back")
        if on_reconnect is not None:
            on_reconnect()

    connecting = asyncio.ensure_future(
        client.connect(**wanted, error_cb=on_error, disconnected_cb=on_disconnected, reconnected_cb=on_reconnected)
    )
    failed = asyncio.ensure_future(all_failed.wait())
    try:
        # Told never to give up reconnecting, nats-py does not give up the first connect either.
        await asyncio.wait({connecting, failed}, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            raise reasons[-1]
        await connecting
    finally:
        failed.cancel()
        if not connecting.done():
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
    return client


def broker(settings: Settings, name: str) -> NatsBroker:
    """A FastStream broker for commands and events; handlers are added by the service, which also starts it.

    Handlers are told once: a message whose handler raised is acknowledged all the same, as FastStream's default would
    drop it for good and an immediate repetition would spin. What must happen is in the log, and swept. Streams and
    durables are never declared here: FastStream's declaring rewrites their configuration.
    """
    wanted = options(settings, name)
    user, password = wanted.pop("user", None), wanted.pop("password", None)
    encrypted: dict[str, Any] = {
        "ssl_context": wanted.pop("tls", None),
        "tls_handshake_first": wanted.pop("tls_handshake_first", False),
    }
    return NatsBroker(
        **wanted,
        security=NatsSecurity(**encrypted) if user is None else NatsUserPassword(user, password or "", **encrypted),
        ack_policy=AckPolicy.ACK,
        # The default of 15 s would cut handlers off within the process's own grace.
        graceful_timeout=max(settings.grace - 5, 1),
        logger=None,
        description=f"Messages of the {name}.",
    )


class Hints:
    """Reads hints of one durable. ``fetch`` waits while nothing is there, and never raises for what NATS does.

    FastStream's own pull loop repeats a refused request at once; here a refusal (durable or stream missing) waits.
    ``turned_at`` (monotonic) is the end of the last request, or when there last was no room for one: for readiness.
    """

    def __init__(self, client: Client, durable: topology.Durable) -> None:
        self._client = client
        self._durable = durable
        self._subscription: Any = None
        self.turned_at = time.monotonic()
        self.refused = False

    async def fetch(self, batch: int, timeout: float = 5.0) -> list[Msg]:
        """At most ``batch`` messages, an empty list after ``timeout`` seconds without any."""
        try:
            if self._subscription is None:
                self._subscription = await self._client.jetstream().pull_subscribe_bind(
                    durable=self._durable.name,
                    stream=self._durable.stream,
                    inbox_prefix=self._inbox(),
                )
            found: list[Msg] = await self._subscription.fetch(batch, timeout=timeout)
            self.refused = False
            return found
        except TimeoutError:  # nats-py raises its own subclass or the builtin one
            self.refused = False
        except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
            if not self.refused:
                log.warning("hints are not to be had", durable=self._durable.name, kind=type(error).__name__)
            self.refused = True
            await asyncio.sleep(_REFUSED_PAUSE)
        finally:
            self.turned()
        return []

    def turned(self) -> None:
        """The loop that fetches is alive, though it may have no room for more just now."""
        self.turned_at = time.monotonic()
        metrics.LAST_FETCH.labels(self._durable.name).set(time.time())

    def _inbox(self) -> bytes:
        return bytes(self._client._inbox_prefix) + b"."

    async def check(self) -> None:
        """For readiness: the durable is there, requests are not refused, and the last one is recent."""
        await durable_there(self._client, self._durable)
        if self.refused:
            raise Failed(f"requests to the durable {self._durable.name} are refused")
        if (late := time.monotonic() - self.turned_at) > _TURN:
            raise Failed(f"no request to the durable {self._durable.name} for {late:.0f} s")


def connected(client: Client) -> Callable[[], Awaitable[None]]:
    """A check for readiness: the connection is up and the server answers."""

    async def check() -> None:
        if not client.is_connected:
            raise Failed("not connected")
        await client.flush(timeout=1)

    return check


async def durable_there(client: Client, durable: topology.Durable) -> ConsumerInfo:
    """The durable as NATS has it. Raises Failed where it is missing, or its stream is."""
    if not client.is_connected:
        raise Failed("not connected")
    try:
        found: ConsumerInfo = await client.jetstream(timeout=1.5).consumer_info(durable.stream, durable.name)
        return found
    except nats.js.errors.NotFoundError as error:
        raise Failed(f"the durable {durable.name} of the stream {durable.stream} is missing") from error


async def look_at_topology(client: Client) -> list[str]:
    """The names of streams and durables that are missing; what the durables hold goes to the metrics. Raises Failed."""
    if not client.is_connected:
        raise Failed("not connected")
    js = client.jetstream(timeout=1.5)
    absent = []
    for stream in topology.streams():
        try:
            await js.stream_info(str(stream.name))
        except nats.js.errors.NotFoundError:
            absent.append(str(stream.name))
    for durable in topology.DURABLES.values():
        try:
            info = await js.consumer_info(durable.stream, durable.name)
        except nats.js.errors.NotFoundError:
            absent.append(f"{durable.stream}.{durable.name}")
            continue
        labels = (durable.stream, durable.name)
        metrics.CONSUMER_PENDING.labels(*labels).set(info.num_pending or 0)
        metrics.CONSUMER_ACK_PENDING.labels(*labels).set(info.num_ack_pending or 0)
        metrics.CONSUMER_REDELIVERED.labels(*labels).set(info.num_redelivered or 0)
        metrics.CONSUMER_LAG.labels(*labels).set((info.num_pending or 0) + (info.num_ack_pending or 0))
    return absent


def _place(settings: Settings) -> str:
    return ",".join(server.rpartition("@")[2] for server in settings.nats_url.split(","))
