"""People of a source: addresses and their corrections, e-mail domains, maps of groups and users. Tables are CSV."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import StreamingResponse

from services.dashboard.adapters.people import PeopleReads, correction_row
from services.dashboard.domain.access import Permission
from services.dashboard.domain.inputs import DomainsIn, MapIn
from services.dashboard.domain.problems import ProblemError, not_found
from services.dashboard.domain.shapes import Domain, PersonAddress, Recorded
from services.dashboard.handlers.analyses import CSV, csv_answer
from services.dashboard.handlers.context import CommandId, Needs, Parts, PartsOf, envelope, send, shown
from shared.events.commands import CorrectAddresses, RecordMap, ReviewDomains
from shared.events.types import Id

router = APIRouter(tags=["people"], dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])

ADDRESS_COLUMNS = ("UserKey", "UserName", "ErrorType", "OldEmail", "NewEmail", "Tombstone", "AccountType")
_MOST = 32 * 1024 * 1024
_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}}


def reads(service: Parts) -> PeopleReads:
    return PeopleReads(service.reads.pool)


async def _exists(service: Parts, source: Id) -> None:
    if not await service.reads.has_stream("source", source):
        raise not_found("source", source)


async def _text(request: Request) -> str:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > _MOST:
            raise ProblemError("table_too_large", 413, "The table is larger than 32 MB.", "Cut it in several.")
        pieces.append(piece)
    try:
        return b"".join(pieces).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProblemError(
            "table_refused", 422, "The table is not UTF-8.", "Save it as CSV in UTF-8; nothing was changed."
        ) from None


@router.get("/sources/{source}/addresses", summary="E-mail addresses", dependencies=[Depends(shown)])
async def addresses(
    service: PartsOf,
    source: Id,
    kind: Annotated[
        Literal["invalid", "duplicate", "unknown", "usable", "all"] | None,
        Query(description="Default: every one that cannot be used as it is."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> list[PersonAddress]:
    """People with the directory in which each is kept: there an address is repaired at the source."""
    await _exists(service, source)
    found: list[PersonAddress] = []
    async for person in reads(service).addresses(source, kind):
        found.append(person)
        if len(found) >= limit:
            break
    return found


@router.get("/sources/{source}/addresses.csv", summary="Addresses as CSV", response_model=None, responses=CSV)
async def addresses_csv(
    service: PartsOf,
    source: Id,
    kind: Literal["invalid", "duplicate", "unknown", "usable", "all"] | None = None,
) -> StreamingResponse:
    """The table to fill in and send back: NewEmail for another address, Tombstone for a Former user."""
    await _exists(service, source)

    async def rows() -> AsyncIterator[Sequence[object]]:
        async for person in reads(service).addresses(source, kind):
            yield correction_row(person)

    return csv_answer("addresses", ADDRESS_COLUMNS, rows())


@router.post("/sources/{source}/addresses", status_code=201, summary="Correct addresses", openapi_extra=_BODY)
async def correct_addresses(service: PartsOf, id: CommandId, source: Id, request: Request) -> Recorded:
    """Takes the table back. A bad one is refused whole, with line and reason; ``result`` has the counts."""
    await _exists(service, source)
    upload = await reads(service).upload(id, "addresses", await _text(request))
    return await send(service, CorrectAddresses(**envelope(id), source=source, upload=upload))


@router.get("/sources/{source}/domains", summary="E-mail domains", dependencies=[Depends(shown)])
async def domains(service: PartsOf, source: Id) -> list[Domain]:
    """With how many people have an address there, and whether someone has marked the domain as trusted."""
    await _exists(service, source)
    return await reads(service).domains(source)


@router.get("/sources/{source}/domains.csv", summary="Domains as CSV", response_model=None, responses=CSV)
async def domains_csv(service: PartsOf, source: Id) -> StreamingResponse:
    await _exists(service, source)

    async def rows() -> AsyncIterator[Sequence[object]]:
        for each in await reads(service).domains(source):
            yield [each.domain, "true" if each.trusted else "false"]

    return csv_answer("domains", ("domain", "trusted"), rows())


@router.post("/sources/{source}/domains", status_code=201, summary="Mark domains")
async def review_domains(service: PartsOf, id: CommandId, source: Id, body: DomainsIn) -> Recorded:
    """A domain that is not trusted keeps a plan from running that moves users of it."""
    await _exists(service, source)
    return await send(service, ReviewDomains(**envelope(id), source=source, **body.model_dump()))


@router.post("/sources/{source}/domains.csv", status_code=201, summary="Mark domains by CSV", openapi_extra=_BODY)
async def review_domains_csv(service: PartsOf, id: CommandId, source: Id, request: Request) -> Recorded:
    await _exists(service, source)
    upload = await reads(service).upload(id, "domains", await _text(request))
    return await send(service, ReviewDomains(**envelope(id), source=source, upload=upload))


@router.post("/sources/{source}/maps", status_code=201, summary="Record a map")
async def record_map(service: PartsOf, id: CommandId, source: Id, body: Annotated[MapIn, Body()]) -> Recorded:
    """Renames, merges and drops groups, and says whose account is whose. It never changes; a plan names it by ``result.map``."""
    await _exists(service, source)
    uploads = {
        name: await reads(service).upload(id, name, text)
        for name, text in (("groups", body.groups), ("users", body.users))
        if text is not None
    }
    return await send(service, RecordMap(**envelope(id), source=source, **uploads))
