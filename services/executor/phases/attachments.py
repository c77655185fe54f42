"""Attachments: streamed from source to site, their SHA-256 taken on the way; all versions, oldest first, if the plan says so."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import PurePosixPath

from services.executor.entities import work_through
from services.executor.job import Job, Row
from services.executor.phases.shades import Shades
from shared.confluence.model import Attachment, FileVersion
from shared.confluence.site import NameTaken, SiteAttachment
from shared.confluence.source import FileMissing
from shared.events.catalog.work import Entity, Kind
from shared.events.reasons import Reason


class _Hashing:
    """Passes chunks on and keeps their digest and size."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks, self._sha, self.size = chunks, hashlib.sha256(), 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._run()

    async def _run(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self._sha.update(chunk)
            self.size += len(chunk)
            yield chunk

    @property
    def digest(self) -> str:
        return self._sha.hexdigest()


async def move(job: Job) -> None:
    shades = Shades(job)

    async def handle(row: Row, look: bool) -> Entity:
        if not row.has_file:
            return row.skipped(Reason.FILE_MISSING)
        container = await job.content_target(row.container or "")
        if container is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        kind, target = container
        there = await job.target(Kind.ATTACHMENT, row.id) if await job.into_earlier() else None
        if there is not None and job.saved.follow is None:
            return row.migrated(there, adopted=True)
        if kind is Kind.ATTACHMENT:
            return row.skipped(Reason.NO_CLOUD_COUNTERPART)
        attachment = await job.source.attachment(row.id)
        await shades.over(row.container or "")
        try:
            if there is not None:
                return await _bring(job, row, kind, target, attachment, there)
            return await _copy(job, row, kind, target, attachment, look)
        except FileMissing:  # by REST it shows only now; an export's inventory knows it before
            return row.skipped(Reason.FILE_MISSING)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _copy(job: Job, row: Row, kind: Kind, target: str, attachment: Attachment, look: bool) -> Entity:
    earlier = []
    if job.saved.options.attachment_versions and attachment.version > 1:
        earlier = [v for v in await job.source.file_versions(row.id) if v.number < attachment.version]
    lacking = job.saved.options.attachment_versions and len(earlier) < attachment.version - 1
    defect = Reason.VERSIONS_INCOMPLETE if lacking else None
    for n in range(1, 50):
        name = attachment.filename if n == 1 else _renamed(attachment.filename, n)
        why = Reason.TITLE_CLASH if n > 1 else defect
        found = await _adopted(job, row, kind, target, name) if look else None
        if found is None:
            first = earlier[0] if earlier else None
            async with job.source.open_attachment(row.id, first.number if first else None) as chunks:
                hashing = _Hashing(chunks)
                try:
                    made = await job.site.create_attachment(
                        target,
                        name,
                        attachment.media_type,
                        aiter(hashing),
                        None,
                        comment=first.comment if first else attachment.comment,
                    )
                except NameTaken:
                    # What an earlier try sent may have had its effect since this one looked.
                    found = await _adopted(job, row, kind, target, name) if look else None
                    if found is None:
                        continue
        if found is not None:
            made, digest = await _go_on(job, row, target, attachment, earlier, found, None)
            digest = digest or await _digest(job, row.id)
            return row.migrated(found.id, why, target_version=made.version, digest=digest, adopted=True)
        if not await job.take(row, made.id):
            continue  # somebody was quicker to find it than its maker to say whose it is
        made, digest = await _go_on(job, row, target, attachment, earlier, made, hashing.digest)
        return row.migrated(made.id, why, target_version=made.version, digest=digest)
    return row.failed(Reason.TITLE_CLASH)


async def _go_on(
    job: Job,
    row: Row,
    target: str,
    attachment: Attachment,
    earlier: Sequence[FileVersion],
    there: SiteAttachment,
    digest: str | None,
) -> tuple[SiteAttachment, str | None]:
    """Adds the versions behind the one that is there, oldest first. How many there are tells how far an attempt came."""
    rest: list[tuple[int | None, str | None]] = [*((v.number, v.comment) for v in earlier), (None, attachment.comment)]
    for number, comment in rest[there.version :]:
        async with job.source.open_attachment(row.id, number) as chunks:
            hashing = _Hashing(chunks)
            there = await job.site.add_attachment_version(
                target,
                there.id,
                there.filename,
                attachment.media_type,
                aiter(hashing),
                size=None,
                comment=comment,
            )
            digest = hashing.digest
    return there, digest


async def _bring(job: Job, row: Row, kind: Kind, target: str, attachment: Attachment, there: str) -> Entity:
    """The versions that came since an earlier plan moved the file, unless somebody put another one on the site or it hangs on
    another page there."""
    last = await job.outcome(Kind.ATTACHMENT, row.id)
    assert last is not None
    found = None
    async for each in job.site.attachments("page" if kind is Kind.PAGE else "blogpost", target):
        found = each if each.id == there else found
    if found is None:
        return row.skipped(Reason.GONE_ON_SITE)
    known = last["target_version"]
    listed = await job.listed_by(last["task"], Kind.ATTACHMENT, row.id)
    before = listed["version"] if listed is not None else 0
    newer: list[int | None] = [None]
    if job.saved.options.attachment_versions:
        numbers = [v.number for v in await job.source.file_versions(row.id)]
        newer = [*(n for n in numbers if before < n < attachment.version), None]
    done = found.version - known
    if done and not (job.has_begun(row) and found.author == job.me.account_id and 0 < done <= len(newer)):
        return row.skipped(Reason.CHANGED_ON_SITE)
    if done == len(newer):  # by an earlier attempt
        return row.migrated(there, target_version=found.version, digest=await _digest(job, row.id), adopted=True)
    digest: str | None = None
    for number in newer[done:]:
        async with job.source.open_attachment(row.id, number) as chunks:
            hashing = _Hashing(chunks)
            found = await job.site.add_attachment_version(
                target,
                there,
                found.filename,
                attachment.media_type,
                aiter(hashing),
                size=None,
                comment=attachment.comment if number is None else None,
            )
            job.begun(row)
            digest = hashing.digest
    return row.migrated(there, target_version=found.version, digest=digest)


def _renamed(filename: str, n: int) -> str:
    path = PurePosixPath(filename)
    return f"{path.stem} ({n}){path.suffix}"


async def _adopted(job: Job, row: Row, kind: Kind, container: str, filename: str) -> SiteAttachment | None:
    """A file of this name on the container that the migrator put there and that stands for nothing else: now for this row."""
    async for found in job.site.attachments("page" if kind is Kind.PAGE else "blogpost", container):
        if found.filename == filename and found.author in (None, job.me.account_id) and await job.take(row, found.id):
            return found
    return None


async def _digest(job: Job, id: str) -> str:
    async with job.source.open_attachment(id) as chunks:
        hashing = _Hashing(chunks)
        async for _ in hashing:
            pass
    return hashing.digest
