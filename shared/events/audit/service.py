"""The sealer's process: a seal every so often, and an account of it in metrics, in its own health, and in the log."""

import asyncio
import contextlib
import time
from pathlib import Path

import structlog
from pydantic import Field

from shared.events import schema
from shared.events.audit.folder import CheckpointFolder
from shared.events.audit.note import BadNote, SigningKey
from shared.events.audit.seal import Busy, Sealer, SealRefused, note_seal
from shared.events.database import FAILURES, close_pool, open_pool
from shared.events.store import UNAVAILABLE, AppendRefused, EventStore
from shared.ops import health, metrics
from shared.ops.health import Degraded, OpsServer
from shared.ops.process import Stop, Unavailable
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

# What passes by itself, or with a person's help; the next seal makes up for it. Among them: a folder that cannot be written.
_PASSING: tuple[type[BaseException], ...] = (*FAILURES, *UNAVAILABLE, AppendRefused)


class SealerSettings(Settings):
    """Every name is read from ``CLOUDWARD_<NAME>``."""

    seal_keys: str = Field(default="", description="Files with the signing keys, one or two, separated by a colon.")
    checkpoints: Path = Field(default=Path("checkpoints"), description="Folder outside the database for checkpoints.")
    seal_every: float = Field(default=60.0, gt=0, description="Seconds between two seals.")


def signing_keys(files: str) -> list[SigningKey]:
    """The keys in files separated by colons. Raises Unavailable."""
    names = [name for name in files.split(":") if name]
    if not 1 <= len(names) <= 2:
        raise Unavailable(
            "The sealer needs its key, or two while one takes over: set CLOUDWARD_SEAL_KEYS to the files."
            " `cloudward audit key new FILE` makes one."
        )
    keys = []
    for name in names:
        try:
            keys.append(SigningKey.from_file(Path(name)))
        except (OSError, BadNote) as error:
            raise Unavailable(f"The sealer's key cannot be read from {name}: {error}") from error
    return keys


async def main(settings: Settings, stop: Stop) -> None:
    """Seals until ``stop``, and once more then. A refusal is told and looked at again: it needs a person."""
    own = SealerSettings(**settings.model_dump(exclude_unset=True))
    keys, folder = signing_keys(own.seal_keys), CheckpointFolder(own.checkpoints)
    pool = await open_pool(settings, application="sealer")
    refusal: list[str] = []

    async def accepted() -> None:
        if refusal:
            raise Degraded(refusal[0])

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(close_pool, pool)
        await schema.check(pool)
        store = await stack.enter_async_context(EventStore(pool))
        await stack.enter_async_context(
            OpsServer(settings, "sealer", {"database": health.database(pool), "log": accepted})
        )
        sealer = Sealer(pool, keys, folder)
        while True:
            ending = stop.is_set()
            try:
                sealed = await sealer.seal()
                refusal.clear()
                metrics.VERIFY_FAILED.set(0)
                metrics.CHECKPOINT_TIMESTAMP.set(time.time())
                if sealed.checkpoint is not None:
                    metrics.CHECKPOINT_POSITION.set(sealed.checkpoint.size)
                if sealed.signed and sealed.checkpoint is not None:
                    log.info("sealed", size=sealed.checkpoint.size)
                    await note_seal(pool, store, sealed.checkpoint)
            except SealRefused as error:
                if not refusal:
                    log.error("seal refused", why=str(error))
                refusal[:] = [str(error)]
                metrics.VERIFY_FAILED.set(1)
            except Busy:
                log.info("another sealer is at work")
            except _PASSING as error:
                log.warning("not sealed", error=type(error).__name__)
            if ending:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), own.seal_every)
