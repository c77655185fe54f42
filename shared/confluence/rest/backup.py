"""The backup of a whole site by its own API, where the release has it: asked for, waited for, fetched.

It is the one thing that a source is asked to do, and only where the user chose this kind of source. Source: the REST documents of
Data Center 9.1 and 10.0.3, backup-restore.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from shared.confluence.rest.client import Client
from shared.confluence.source import SourceError, SourceUnauthorized, SourceUnsupported

JOBS = "/rest/api/backup-restore/jobs"
NAME = "cloudward"  # what the file at the source begins with
_UNDER_WAY = frozenset({"QUEUED", "PROCESSING", "COMPLETING"})

# What is told on the way: the stage, how much is done, of how much (None: not known).
Told = Callable[[str, int, int | None], None]


async def fetch(client: Client, to: Path, tell: Told, pause: float = 2.0) -> None:
    """Writes the site's backup to the file ``to``, whole or not at all; ``pause`` in seconds between two looks at the job.

    A job of ours that is under way already is waited for, so that one who takes over asks for no second. Raises
    SourceUnsupported where the release has no such API, SourceUnauthorized where the account may not, SourceError where it fails.
    """
    await client.confirm()
    job = await _under_way(client) or await _ask(client)
    while (state := job.get("jobState")) in _UNDER_WAY:
        counts = job.get("statistics") or {}
        tell("backup", int(counts.get("processedObjectsCount") or 0), int(counts.get("totalObjectsCount") or 0) or None)
        await asyncio.sleep(pause)
        job = _job(client, await client.json(f"{JOBS}/{job['id']}"))
    if state != "FINISHED":
        raise SourceError(f"{client.base}: the backup ended as {state}. Its server's log says why; then analyze again.")
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(f".{to.name}.part")
    try:
        done = 0
        async with client.download(client.url(f"{JOBS}/{job['id']}/download")) as pieces:
            with beside.open("wb") as file:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
                    done += len(piece)
                    tell("download", done, None)
        beside.replace(to)
    finally:
        beside.unlink(missing_ok=True)


async def _under_way(client: Client) -> dict[str, Any] | None:
    answer = await client.answer(client.url(JOBS))
    if answer.status_code != 200:
        return None  # not for this account, or no such API: asking for one tells which
    listed = client.decoded(answer)
    for job in listed if isinstance(listed, list) else ():
        if job.get("jobScope") == "SITE" and job.get("jobOperation") == "BACKUP" and job.get("jobState") in _UNDER_WAY:
            return _job(client, job)
    return None


async def _ask(client: Client) -> dict[str, Any]:
    settings = {"skipAttachments": False, "keepPermanently": False, "fileNamePrefix": NAME}
    answer: httpx.Response = await client.answer(
        client.url("/rest/api/backup-restore/backup/site"), method="POST", body=settings
    )
    if answer.status_code in (404, 405):
        raise SourceUnsupported(
            f"{client.base} has no backups by its API: Data Center has them from 8.3 on. Make an XML export, or add the"
            " server as an ordinary source."
        )
    if answer.status_code in (401, 403, 409):  # 409 is also what an account without the right gets
        raise SourceUnauthorized(
            f"{client.base} makes no backup for this account ({answer.status_code}): it needs a system administrator, and no"
            " other backup of the site may be under way."
        )
    return _job(client, client.decoded(client.check(answer)))


def _job(client: Client, job: Any) -> dict[str, Any]:
    if not isinstance(job, dict) or not str(job.get("id", "")).isdecimal():
        raise SourceError(f"{client.base}: the answer about the backup names no job.")
    return job
