"""Files of the site. Uploads exist in v1 only."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from shared.confluence.cloud import parsing
from shared.confluence.cloud.content import PAGE, PLURAL
from shared.confluence.cloud.transport import Transport
from shared.confluence.site import NameTaken, OutcomeUnknown, SiteAttachment


class SizeMismatch(Exception):
    """The file gave more or fewer bytes than announced. The upload was broken off: nothing was stored."""


class Attachments:
    """Part of ``CloudSite``. Files pass through in chunks: memory does not grow with their size."""

    _site: Transport

    async def create_attachment(
        self,
        content_id: str,
        filename: str,
        media_type: str,
        chunks: AsyncIterator[bytes],
        size: int | None,
        *,
        comment: str | None = None,
        minor: bool = True,
    ) -> SiteAttachment:
        """Attach a file to a page or blog post (v1 POST, which refuses a name that is there: ``NameTaken``).

        ``size``: bytes, checked (``SizeMismatch``); None sends the request without a length. ``minor``: no mail, no
        activity. Errors of ``chunks`` come out as they are; then nothing was stored.
        """
        path = f"/wiki/rest/api/content/{content_id}/child/attachment"
        file = _File(filename, media_type, chunks, size, comment, minor)
        return await self._upload("create attachment", path, content_id, file)

    async def add_attachment_version(
        self,
        content_id: str,
        attachment_id: str,
        filename: str,
        media_type: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        comment: str | None = None,
        minor: bool = True,
    ) -> SiteAttachment:
        """Upload the next version of an attachment (v1). Every call adds one: look at the version before repeating."""
        path = f"/wiki/rest/api/content/{content_id}/child/attachment/{attachment_id}/data"
        file = _File(filename, media_type, chunks, size, comment, minor)
        return await self._upload("add attachment version", path, content_id, file)

    async def _upload(self, operation: str, path: str, content_id: str, file: "_File") -> SiteAttachment:
        boundary = secrets.token_hex(16)
        head = _field(boundary, "minorEdit", "true" if file.minor else "false")
        if file.comment:
            head += _field(boundary, "comment", file.comment)
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(file.filename)}"\r\n'
            f"Content-Type: {_media_type(file.media_type)}\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "X-Atlassian-Token": "no-check",
            "Content-Type": f"multipart/form-data; boundary={boundary}",
        }
        total = None if file.size is None else len(head) + file.size + len(tail)
        if total is not None:
            headers["Content-Length"] = str(total)
        answer = parsing.fields(
            await self._site.upload(
                operation, path, _multipart(head, file, tail), headers=headers, size=total, taken=NameTaken
            )
        )
        results = answer.get("results")
        data = parsing.fields(results[0]) if isinstance(results, list) and results else answer
        if "id" not in data:
            raise OutcomeUnknown(f"{operation}: the answer names no attachment")
        return parsing.uploaded(data, content_id)

    async def attachments(
        self, content_kind: Literal["page", "blogpost"], content_id: str
    ) -> AsyncIterator[SiteAttachment]:
        """The current attachments of a page or blog post (v2)."""
        async for data in self._site.each(
            "list attachments",
            f"/wiki/api/v2/{PLURAL[content_kind]}/{content_id}/attachments",
            {"status": "current", "limit": PAGE},
        ):
            yield parsing.attachment(data, content_id)

    async def download_attachment(
        self, content_id: str, attachment_id: str, version: int | None = None
    ) -> AsyncIterator[bytes]:
        """The file's bytes in chunks (v1; follows the redirect to the signed address without the credential)."""
        path = f"/wiki/rest/api/content/{content_id}/child/attachment/{attachment_id}/download"
        async with self._site.download(
            "download attachment", path, None if version is None else {"version": version}
        ) as chunks:
            async for chunk in chunks:
                yield chunk


@dataclass(frozen=True, slots=True)
class _File:
    filename: str
    media_type: str
    chunks: AsyncIterator[bytes]
    size: int | None
    comment: str | None
    minor: bool


async def _multipart(head: bytes, file: _File, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    sent = 0
    async for chunk in file.chunks:
        sent += len(chunk)
        if file.size is not None and sent > file.size:
            raise SizeMismatch(f"more than the announced {file.size} bytes")
        yield chunk
    if file.size is not None and sent != file.size:
        raise SizeMismatch(f"{sent} of the announced {file.size} bytes")
    yield tail


def _field(boundary: str, name: str, value: str) -> bytes:
    # Without a charset the site may read the text as something else than UTF-8.
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain; charset=utf-8'
    return f"{head}\r\n\r\n{value}\r\n".encode()


def _quoted(filename: str) -> str:
    # As HTML 5 forms quote names: the three characters that would end the header or the string.
    return filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _media_type(given: str) -> str:
    """Exports hold anything here. What is no media type would break the part's header."""
    simple = given.split(";", maxsplit=1)[0].strip()
    plain = simple.isascii() and simple.isprintable() and " " not in simple
    return simple if plain and simple.count("/") == 1 else "application/octet-stream"
