"""The pages of sources and sites: what is connected, what is in it, and adding one."""

from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from services.dashboard.adapters.tables import ANALYZED
from services.dashboard.domain.access import Permission
from services.dashboard.domain.attention import unresolved
from services.dashboard.domain.inputs import CredentialIn, DomainsIn, RepairIn, ReplaceIn, SiteIn, SourceIn, UrlsIn
from services.dashboard.domain.listing import Listing
from services.dashboard.domain.problems import ProblemError, not_found
from services.dashboard.domain.shapes import Source
from services.dashboard.handlers import connections, people
from services.dashboard.handlers.context import Needs, Parts, PartsOf
from services.dashboard.handlers.live import live, region
from services.dashboard.handlers.rendering import page

router = APIRouter(include_in_schema=False, dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])

Command = Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")]
Text = Annotated[str, Form(max_length=2000)]
Connected = Literal["sources", "sites"]
MOST_DOMAINS = 100  # those with the most people; the rest by the command line or a table


@router.get("/sources")
async def sources_page(service: PartsOf) -> Response:
    return page(service, "sources.html", sources=await service.reads.sources())


@router.get("/sources/new")
async def new_source(service: PartsOf) -> Response:
    return page(service, "source_new.html", values={}, errors={}, command=uuid4().hex)


@router.post("/sources/new")
async def add_source(
    service: PartsOf,
    command: Command,
    name: Text = "",
    location: Text = "",
    base_urls: Text = "",
    token: Text = "",
    username: Text = "",
    password: Text = "",
) -> Response:
    values = {"name": name.strip(), "location": location.strip(), "base_urls": base_urls, "username": username.strip()}
    try:
        credential = _credential(token=token.strip(), username=values["username"], password=password)
        body = SourceIn(
            name=values["name"], location=values["location"], credential=credential, base_urls=base_urls.split()
        )
        recorded = await connections.register_source(service, command, body)
    except (ValidationError, ProblemError) as error:
        return page(service, "source_new.html", status=422, values=values, errors=_errors(error), command=uuid4().hex)
    return RedirectResponse(f"/sources/{recorded.id}?after={recorded.position or 0}", 303)


@router.get("/sources/{source}")
async def source_page(service: PartsOf, source: str, after: Annotated[int | None, Query(ge=0)] = None) -> Response:
    await service.caught_up(after)
    found = await _source(service, source)
    domains = await people.reads(service).domains(source)
    return page(
        service,
        "source.html",
        source=found,
        unresolved=unresolved(found),
        domains=domains,
        most=MOST_DOMAINS,
        command=uuid4().hex,
    )


@router.get("/sources/{source}/spaces")
async def source_spaces(request: Request, service: PartsOf, source: str) -> Response:
    """The spaces of the source's last analysis."""
    found = await _source(service, source)
    if found.analysis is None or found.analysis.numbers is None:
        return RedirectResponse(f"/sources/{source}", 303)
    listing = Listing.read(f"/sources/{source}/spaces", ANALYZED, request.query_params.multi_items())
    rows = await service.tables.analyzed_spaces(found.analysis.id, source, found.analysis.numbers.spaces, listing)
    return page(service, "source_spaces.html", source=found, rows=rows)


@router.post("/sources/{source}/analyze")
async def analyze(service: PartsOf, source: str, command: Command) -> Response:
    recorded = await connections.analyze(service, command, source)
    return RedirectResponse(f"/sources/{source}?after={recorded.position or 0}", 303)


@router.post("/sources/{source}/repair")
async def repair(
    service: PartsOf,
    source: str,
    command: Command,
    duplicates: Annotated[str, Form()] = "merge",
    others: Annotated[str, Form()] = "generate",
) -> Response:
    body = RepairIn.model_validate({"duplicates": duplicates, "others": others})
    recorded = await connections.repair_addresses(service, command, source, body)
    return RedirectResponse(f"/sources/{source}?after={recorded.position or 0}", 303)


@router.post("/sources/{source}/domains")
async def review_domains(
    service: PartsOf,
    source: str,
    command: Command,
    do: Annotated[Literal["trust", "trust-all", "distrust"], Form()],
    domain: Annotated[list[str] | None, Form(max_length=MOST_DOMAINS)] = None,
) -> Response:
    """What was ticked is trusted, or no more; or everything is trusted."""
    if do == "trust-all" or domain:
        ticked = domain or []
        marks = {"trust": {"trusted": ticked}, "distrust": {"untrusted": ticked}, "trust-all": {"every": True}}
        recorded = await people.review_domains(service, command, source, DomainsIn.model_validate(marks[do]))
        await service.caught_up(recorded.position)
    return RedirectResponse(f"/sources/{source}#domains", 303)


@router.get("/sources/{source}/base-urls")
async def other_base_urls(service: PartsOf, source: str) -> Response:
    return await _base_urls_page(service, source, None, {})


@router.post("/sources/{source}/base-urls")
async def set_base_urls(service: PartsOf, source: str, command: Command, base_urls: Text = "") -> Response:
    try:
        body = UrlsIn(base_urls=base_urls.split())
        recorded = await connections.set_base_urls(service, command, source, body)
    except ValidationError as error:
        return await _base_urls_page(service, source, base_urls, _errors(error), 422)
    return RedirectResponse(f"/sources/{source}?after={recorded.position or 0}", 303)


async def _base_urls_page(
    service: Parts, source: str, given: str | None, errors: dict[str, str], status: int = 200
) -> Response:
    found = await _source(service, source)
    values = {"base_urls": " ".join(found.base_urls) if given is None else given}
    more = {"source": found, "values": values, "errors": errors, "command": uuid4().hex}
    return page(service, "base_urls.html", status=status, **more)


@router.get("/sites")
async def sites_page(service: PartsOf) -> Response:
    return page(service, "sites.html", sites=await service.reads.sites(), logins=service.logins.able)


@router.get("/sites/new")
async def new_site(service: PartsOf) -> Response:
    return page(service, "site_new.html", values={}, errors={}, command=uuid4().hex)


@router.post("/sites/new")
async def add_site(
    service: PartsOf, command: Command, name: Text = "", url: Text = "", email: Text = "", token: Text = ""
) -> Response:
    values = {"name": name.strip(), "url": url.strip(), "email": email.strip()}
    try:
        credential = _credential(token=token.strip(), email=values["email"])
        body = SiteIn(name=values["name"], url=values["url"], credential=credential)
        recorded = await connections.register_site(service, command, body)
    except (ValidationError, ProblemError) as error:
        return page(service, "site_new.html", status=422, values=values, errors=_errors(error), command=uuid4().hex)
    await service.caught_up(recorded.position)
    return RedirectResponse("/sites", 303)


@router.get("/{of}/{id}/credential")
async def another_credential(service: PartsOf, of: Connected, id: str) -> Response:
    return await _credential_page(service, of, id, {}, {})


@router.post("/{of}/{id}/credential")
async def replace_credential(
    service: PartsOf,
    of: Connected,
    id: str,
    command: Command,
    email: Text = "",
    token: Text = "",
    username: Text = "",
    password: Text = "",
) -> Response:
    values = {"email": email.strip(), "username": username.strip()}
    replace = connections.replace_site_credential if of == "sites" else connections.replace_source_credential
    try:
        credential = _credential(token=token.strip(), password=password, **values)
        recorded = await replace(service, command, id, ReplaceIn(credential=credential))
    except (ValidationError, ProblemError) as error:
        told = _errors(error).values()
        return await _credential_page(service, of, id, values, {"token": " ".join(told)}, 422)
    await service.caught_up(recorded.position)
    return RedirectResponse("/sites" if of == "sites" else f"/sources/{id}", 303)


async def _credential_page(
    service: Parts, of: Connected, id: str, values: dict[str, str], errors: dict[str, str], status: int = 200
) -> Response:
    thing = await (connections.show_site(service, id) if of == "sites" else _source(service, id))
    command = uuid4().hex
    more = {"of": of, "thing": thing, "values": values, "errors": errors, "command": command}
    return page(service, "credential.html", status=status, **more)


@router.get("/live/sources/{source}")
async def live_source(request: Request, service: PartsOf, source: str) -> Response:
    await _source(service, source)

    async def regions() -> dict[str, str]:
        found = await _source(service, source)
        return {"analysis": region("analysis", source=found, unresolved=unresolved(found))}

    return live(request, service, f"source {source}", regions)


async def _source(service: Parts, id: str) -> Source:
    for found in await service.reads.sources(id):
        return found
    raise not_found("source", id)


def _credential(**given: str) -> CredentialIn | None:
    """What was filled in; nothing: no credential (an export needs none). Raises ValidationError for half of one."""
    filled: dict[str, Any] = {name: value for name, value in given.items() if value}
    return CredentialIn(**filled) if filled else None


# What a form's fields are called on the page, and what is wrong with them, in words.
_FIELDS = {
    "name": ("name", "Give it a name of at most 200 characters."),
    "location": ("location", "Give the address of the server, or the path of the export on the analyzer's machine."),
    "base_urls": ("base_urls", "Give each as https://wiki.example.com or https://wiki.example.com/confluence."),
    "url": ("url", "Give the site's address, such as https://example.atlassian.net"),
    "": ("token", "Give a token, or both halves of the credential."),
}


def _errors(error: ValidationError | ProblemError) -> dict[str, str]:
    """Field → sentence. What its owner refused stands at the name, where it belongs most often."""
    if isinstance(error, ProblemError):
        return {"name": f"{error} {error.way_on}"}
    found: dict[str, str] = {}
    for each in error.errors():
        field, sentence = _FIELDS.get(str(each["loc"][0]) if each["loc"] else "", _FIELDS[""])
        found.setdefault(field, sentence)
    return found
