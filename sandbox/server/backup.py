"""Backup jobs (8.3 and later): asked for, waited for, fetched. The one thing that a migration lets a source do."""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import IO, Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from sandbox.export import write_export
from sandbox.sample.model import Instance
from sandbox.server.call import Call
from sandbox.server.errors import Refusal
from sandbox.server.shapes import Json, when
from sandbox.versions import Version

#: How long a job works before others have their turn, in seconds.
_TURN = 0.02
_PIECE = 1 << 18
_RUNNING = ("QUEUED", "PROCESSING", "COMPLETING")


@dataclass
class Job:
    """``keys`` None: the site."""

    id: int
    owner: str
    keys: list[str] | None
    settings: Json
    state: str = "QUEUED"
    done: int = 0
    total: int = 0
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    finished: datetime | None = None
    error: str | None = None
    file: IO[bytes] | None = None
    task: "asyncio.Task[None] | None" = None

    def __del__(self) -> None:
        if self.file is not None:
            self.file.close()

    @property
    def file_name(self) -> str:
        prefix = self.settings.get("fileNamePrefix") or ("site" if self.keys is None else "-".join(self.keys))
        return f"{prefix}-{self.created:%Y-%m-%d-%H-%M-%S}.zip"

    def document(self) -> Json:
        told: Json = {
            "id": self.id,
            "jobOperation": "BACKUP",
            "jobScope": "SITE" if self.keys is None else "SPACE",
            "jobState": self.state,
            "createTime": when(self.created),
            "owner": self.owner,
            "fileName": self.file_name,
            "fileExists": self.state == "FINISHED",
            "jobSettings": self.settings,
        }
        if self.keys is not None:
            told["spaceKeys"] = ",".join(self.keys)
        for name, moment in (("startProcessingTime", self.started), ("finishProcessingTime", self.finished)):
            if moment is not None:
                told[name] = when(moment)
        if self.error:
            told["errorMessage"] = self.error
        counts = {
            "totalObjectsCount": self.total,
            "processedObjectsCount": self.done,
            "persistedObjectsCount": self.done,
        }
        return {**told, "statistics": {**counts, "skippedObjectsCount": 0, "reusedObjectsCount": 0}}


class Backups:
    """The jobs of one instance. They run one after the other, between requests; who holds ``turn`` keeps them queued."""

    def __init__(self, instance: Instance, version: Version) -> None:
        self.instance, self.version = instance, version
        self.jobs: dict[int, Job] = {}
        self._ids = count(1)
        self.turn = asyncio.Lock()

    def start(self, owner: str, keys: list[str] | None, settings: Json, base_url: str) -> Job:
        """Raises Refusal with 409 where the same is under way."""
        if any(job.keys == keys and job.state in _RUNNING for job in self.jobs.values()):
            raise Refusal(409, "A backup of the same is already queued or in progress.")
        job = Job(next(self._ids), owner, keys, settings)
        self.jobs[job.id] = job
        job.task = asyncio.get_running_loop().create_task(self._run(job, base_url))
        return job

    async def _run(self, job: Job, base_url: str) -> None:
        async with self.turn:
            job.state, job.started = "PROCESSING", datetime.now(UTC)
            # Without a name, so that nothing is left behind however the process ends.
            job.file = tempfile.TemporaryFile()  # noqa: SIM115 - kept until the job goes
            try:
                begun = time.monotonic()
                attachments = not job.settings.get("skipAttachments", False)
                for progress in write_export(
                    self.instance, self.version, job.file, spaces=job.keys, attachments=attachments, base_url=base_url
                ):
                    job.done, job.total = progress.done, progress.total
                    if time.monotonic() - begun > _TURN:
                        await asyncio.sleep(0)
                        begun = time.monotonic()
                job.state = "FINISHED"
            except OSError as error:
                job.state, job.error = "FAILED", f"The backup could not be written: {error.strerror}"
            job.finished = datetime.now(UTC)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    at = 0
    while piece := os.pread(file.fileno(), _PIECE, at):
        at += len(piece)
        yield piece


def _job(call: Call, backups: Backups, status: int) -> Job:
    """Jobs of others are not told from jobs that are not there."""
    text = call.path("job")
    job = backups.jobs.get(int(text)) if text.isdecimal() else None
    user = call.viewer.user
    if job is None or user is None or not (call.viewer.administrator or job.owner == user.username):
        raise Refusal(status, f"No job with id {text}, or no permission to see it.")
    return job


def start_site(call: Call, backups: Backups, settings: Any) -> Response:
    if call.viewer.user is None or not call.viewer.administrator:
        raise Refusal(409, "You do not have permission to create site backups.")  # this status is the documented one
    if not isinstance(settings, dict):
        raise Refusal(400, "Settings of the backup are expected.")
    return JSONResponse(backups.start(call.viewer.user.username, None, settings, call.base).document())


def start_spaces(call: Call, backups: Backups, settings: Any) -> Response:
    user = call.viewer.user
    keys = settings.get("spaceKeys") if isinstance(settings, dict) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(k, str) for k in keys):
        raise Refusal(400, "At least one space key is expected.")
    spaces = [call.instance.space_by_key(k) for k in keys]
    if user is None or any(s is None or not call.viewer.may_in(s, "EXPORTSPACE") for s in spaces):
        raise Refusal(403, "You do not have permission to create backups of these spaces.")
    found = sorted(s.key for s in spaces if s is not None)
    return JSONResponse(backups.start(user.username, found, settings, call.base).document())


def jobs(call: Call, backups: Backups) -> Response:
    call.known()
    call.administrator()
    return JSONResponse([job.document() for job in reversed(backups.jobs.values())])


def job(call: Call, backups: Backups) -> Response:
    return JSONResponse(_job(call, backups, 403).document())


def cancel(call: Call, backups: Backups) -> Response:
    found = _job(call, backups, 403)
    if found.state in _RUNNING and found.task is not None:
        found.task.cancel()
        found.state, found.finished = "CANCELLED", datetime.now(UTC)
    return JSONResponse(found.document())


def download(call: Call, backups: Backups) -> Response:
    """A stream. Behind the sandbox's front, which reads answers whole, only its pieces are handed on."""
    found = _job(call, backups, 404)
    if found.state != "FINISHED" or found.file is None:
        raise Refusal(404, f"The file of job {found.id} is not there.")
    size = os.fstat(found.file.fileno()).st_size
    headers = {"content-length": str(size), "content-disposition": f'attachment; filename="{found.file_name}"'}
    state = call.request.scope["state"]
    if state.get("hosted"):
        file = found.file
        state["pieces"] = lambda: _pieces(file)
        return Response(headers=headers, media_type="application/zip")
    return StreamingResponse(_pieces(found.file), headers=headers, media_type="application/zip")


__all__ = ["Backups", "Job", "cancel", "download", "job", "jobs", "start_site", "start_spaces"]
