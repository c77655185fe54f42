"""Sources, their analyses, and sites."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response

from services.dashboard.domain.access import Permission
from services.dashboard.domain.inputs import CredentialIn, RepairIn, ReplaceIn, SiteIn, SourceIn, UrlsIn
from services.dashboard.domain.problems import ProblemError, not_found
from services.dashboard.domain.shapes import Analysis, Recorded, Site, Source
from services.dashboard.handlers.context import CommandId, CutOf, Needs, Parts, PartsOf, envelope, send, shown
from shared.events.commands import (
    Analyze,
    RegisterSite,
    RegisterSource,
    RepairAddresses,
    ReplaceSiteCredential,
    ReplaceSourceCredential,
    SetBaseUrls,
)
from shared.events.types import Id, derived_id

router = APIRouter(dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])


@router.post("/sources", status_code=201, tags=["sources"], summary="Register a source")
async def register_source(service: PartsOf, id: CommandId, body: SourceIn) -> Recorded:
    """A Confluence server by its base URL, or an export by its path on the analyzer's machine."""
    secret = await service.secrets.store(body.credential, id)
    command = RegisterSource(
        **envelope(id),
        name=body.name,
        kind=body.detected_kind,
        location=body.location,
        secret=secret,
        base_urls=tuple(body.base_urls),
    )
    return await send(service, command)


@router.get("/sources", tags=["sources"], summary="List sources", dependencies=[Depends(shown)])
async def list_sources(service: PartsOf, response: Response, cut: CutOf) -> list[Source]:
    """By name. Where there are more, the header ``Link`` names the next page."""
    return cut.linked(response, "/sources", await service.reads.sources(limit=cut.limit, before=cut.before))


@router.get("/sources/{source}", tags=["sources"], summary="One source", dependencies=[Depends(shown)])
async def show_source(service: PartsOf, source: Id) -> Source:
    for found in await service.reads.sources(source):
        return found
    raise not_found("source", source)


@router.post("/sources/{source}/base-urls", status_code=201, tags=["sources"], summary="Set a source's base URLs")
async def set_base_urls(service: PartsOf, id: CommandId, source: Id, body: UrlsIn) -> Recorded:
    """All of them, besides the one that the source tells: older ones of a server, and those of an export, which tells none.
    Links under them follow as links into the source, from the next chunk on that is moved."""
    await _exists(service, source)
    return await send(service, SetBaseUrls(**envelope(id), source=source, base_urls=tuple(body.base_urls)))


@router.post("/sources/{source}/credential", status_code=201, tags=["sources"], summary="Replace a source's credential")
async def replace_source_credential(service: PartsOf, id: CommandId, source: Id, body: ReplaceIn) -> Recorded:
    """What has begun with the old one goes on with it where it still can; what begins later takes the new one."""
    await _exists(service, source)
    secret = await service.secrets.store(body.credential, id)
    if secret is None:
        raise ProblemError("credential_incomplete", 422, "A source has a credential only.", "Give a credential.")
    return await send(service, ReplaceSourceCredential(**envelope(id), source=source, secret=secret))


@router.post("/sources/{source}/analyses", status_code=202, tags=["analyses"], summary="Analyze a source")
async def analyze(service: PartsOf, id: CommandId, source: Id) -> Recorded:
    """The analysis is work: it is recorded now and done by an analyzer. Read it by the id in the answer."""
    await _exists(service, source)
    return await send(service, Analyze(**envelope(id), source=source))


@router.get("/sources/{source}/analyses", tags=["analyses"], summary="Analyses", dependencies=[Depends(shown)])
async def list_analyses(service: PartsOf, source: Id) -> list[Analysis]:
    """The analyses of a source, newest first."""
    return await service.reads.analyses_of(source)


@router.get("/analyses/{analysis}", tags=["analyses"], summary="One analysis", dependencies=[Depends(shown)])
async def show_analysis(
    service: PartsOf,
    analysis: Id,
    spaces: Annotated[bool, Query(description="With the numbers of every space that is already counted.")] = True,
) -> Analysis:
    """Of a large source ask without spaces, and page through them at /analyses/{id}/spaces."""
    found = await service.reads.analysis(analysis, spaces=spaces)
    if found is None:
        raise not_found("analysis", analysis)
    return found


@router.post("/sources/{source}/address-repairs", status_code=201, tags=["sources"], summary="Repair addresses")
async def repair_addresses(
    service: PartsOf, id: CommandId, source: Id, body: Annotated[RepairIn | None, Body()] = None
) -> Recorded:
    """Decides what becomes of unusable e-mail addresses; the answer's ``result`` has the counts."""
    await _exists(service, source)
    choice = body or RepairIn()
    command = RepairAddresses(**envelope(id), source=source, duplicates=choice.duplicates, others=choice.others)
    return await send(service, command)


@router.post("/sites", status_code=201, tags=["sites"], summary="Register a site")
async def register_site(service: PartsOf, id: CommandId, body: SiteIn) -> Recorded:
    secret = await service.secrets.store(body.credential, id)
    command = RegisterSite(
        **envelope(id),
        name=body.name,
        url=body.url,
        credential=body.kind,
        sandbox=body.sandbox,
        secret=secret,
        login=body.login,
        organization=await _organization(service, id, body.organization),
    )
    return await send(service, command)


@router.post("/sites/{site}/credential", status_code=201, tags=["sites"], summary="Replace a site's credential")
async def replace_site_credential(service: PartsOf, id: CommandId, site: Id, body: ReplaceIn) -> Recorded:
    """Plans that were paused because the login was over go on by themselves."""
    command = ReplaceSiteCredential(
        **envelope(id),
        site=(await show_site(service, site)).id,
        secret=await service.secrets.store(body.credential, id),
        login=body.login,
        organization=await _organization(service, id, body.organization),
    )
    return await send(service, command)


async def _organization(service: Parts, id: str, given: CredentialIn | None) -> str | None:
    return await service.secrets.store(given, derived_id(id, "organization"))


@router.get("/sites", tags=["sites"], summary="List sites", dependencies=[Depends(shown)])
async def list_sites(service: PartsOf, response: Response, cut: CutOf) -> list[Site]:
    """By name. Where there are more, the header ``Link`` names the next page."""
    return cut.linked(response, "/sites", await service.reads.sites(limit=cut.limit, before=cut.before))


@router.get("/sites/{site}", tags=["sites"], summary="One site", dependencies=[Depends(shown)])
async def show_site(service: PartsOf, site: Id) -> Site:
    for found in await service.reads.sites(site):
        return found
    raise not_found("site", site)


async def _exists(service: Parts, source: Id) -> None:
    if not await service.reads.has_stream("source", source):
        raise not_found("source", source)
