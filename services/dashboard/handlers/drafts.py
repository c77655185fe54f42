"""Creating a migration plan in five steps: Analyze, Select, Spaces, Configure, Review. Every step saves the draft."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from services.dashboard.adapters.drafts import Drafts
from services.dashboard.adapters.people import PeopleReads
from services.dashboard.adapters.tables import ANALYZED
from services.dashboard.domain.access import CALLER, Permission
from services.dashboard.domain.attention import unresolved
from services.dashboard.domain.draft import ACCEPTABLE, STEPS, Draft
from services.dashboard.domain.inputs import RunIn
from services.dashboard.domain.listing import Listing
from services.dashboard.domain.problems import ProblemError, not_found
from services.dashboard.domain.shapes import Source
from services.dashboard.handlers import plans
from services.dashboard.handlers.context import Needs, Parts, PartsOf
from services.dashboard.handlers.rendering import page

router = APIRouter(include_in_schema=False, dependencies=[Depends(Needs(Permission.OPERATE))])

Command = Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")]


@router.get("/plans/new")
async def begin_page(service: PartsOf) -> Response:
    sources = await service.reads.sources()
    names = {source.id: source.name for source in sources}
    drafts = [each for each in await Drafts(service.reads.pool).open() if each[1].source in names]
    return page(service, "draft_new.html", sources=sources, drafts=drafts, names=names)


@router.post("/plans/new")
async def begin(service: PartsOf, source: Annotated[str, Form(max_length=32)]) -> Response:
    await _source(service, source)
    id = await Drafts(service.reads.pool).begin(CALLER.get().actor.key, Draft(source=source))
    return RedirectResponse(f"/drafts/{id}/analyze", 303)


@router.get("/drafts/{draft}/analyze")
async def analyze_page(service: PartsOf, draft: str) -> Response:
    return await _step(service, draft, "analyze")


@router.get("/drafts/{draft}/select")
async def select_page(service: PartsOf, draft: str) -> Response:
    return await _step(service, draft, "select")


@router.post("/drafts/{draft}/select")
async def select(
    service: PartsOf, draft: str, users: Annotated[str, Form()] = "related", groups: Annotated[bool, Form()] = False
) -> Response:
    return await _save(service, draft, "spaces", users=users, groups=groups)


@router.get("/drafts/{draft}/spaces")
async def spaces_page(request: Request, service: PartsOf, draft: str) -> Response:
    found = await _draft(service, draft)
    source = await _source(service, found.source)
    if source.analysis is None or source.analysis.numbers is None:
        return RedirectResponse(f"/drafts/{draft}/analyze", 303)
    listing = Listing.read(f"/drafts/{draft}/spaces", ANALYZED, request.query_params.multi_items())
    rows = await service.tables.analyzed_spaces(source.analysis.id, source.id, source.analysis.numbers.spaces, listing)
    return await _step(service, draft, "spaces", rows=rows, chosen=set(found.spaces))


@router.post("/drafts/{draft}/spaces")
async def spaces(request: Request, service: PartsOf, draft: str) -> Response:
    """``do``: keep this page's ticks, add all that match, take all out, turn the page, or go on. Ticks are kept by each."""
    found = await _draft(service, draft)
    form = await request.form()
    shown, ticked = ([str(v) for v in form.getlist(name)] for name in ("shown", "space"))
    found = found.with_page(shown, ticked)
    listing = Listing.read(f"/drafts/{draft}/spaces", ANALYZED, request.query_params.multi_items())
    todo = str(form.get("do") or "keep")
    if todo == "all":
        source = await _source(service, found.source)
        assert source.analysis is not None
        found = found.with_spaces(
            [*found.spaces, *await service.tables.matching_spaces(source.analysis.id, source.id, listing)]
        )
    elif todo == "none":
        found = found.with_spaces([])
    await Drafts(service.reads.pool).save(draft, found)
    if todo == "continue":
        return RedirectResponse(f"/drafts/{draft}/configure", 303)
    turned = todo.removeprefix("page:")
    return RedirectResponse(listing.at(int(turned) if turned.isdigit() else listing.page), 303)


@router.get("/drafts/{draft}/configure")
async def configure_page(service: PartsOf, draft: str) -> Response:
    return await _step(service, draft, "configure", sites=await service.reads.sites(), errors={})


@router.post("/drafts/{draft}/configure")
async def configure(
    service: PartsOf,
    draft: str,
    name: Annotated[str, Form(max_length=200)] = "",
    stage: Annotated[str, Form()] = "test",
    site: Annotated[str, Form(max_length=32)] = "",
    key_conflicts: Annotated[str, Form()] = "fail",
    versions: Annotated[str, Form(max_length=4)] = "0",
    attachment_versions: Annotated[bool, Form()] = False,
    provenance: Annotated[str, Form()] = "property",
    personal_spaces: Annotated[str, Form()] = "move",
) -> Response:
    options = {
        "versions": int(versions) if versions.isdigit() else 0,
        "attachment_versions": attachment_versions,
        "provenance": provenance,
        "personal_spaces": personal_spaces,
    }
    changed = {"name": name.strip(), "stage": stage, "site": site, "key_conflicts": key_conflicts, "options": options}
    errors = {}
    if not changed["name"]:
        errors["name"] = "Give the plan a name."
    if not site:
        errors["site"] = "Choose the site it moves to."
    if errors:
        await _save(service, draft, "configure", **changed)
        return await _step(service, draft, "configure", sites=await service.reads.sites(), errors=errors, status=422)
    return await _save(service, draft, "review", **changed)


@router.get("/drafts/{draft}/review")
async def review_page(service: PartsOf, draft: str) -> Response:
    return await _review(service, draft, {})


@router.post("/drafts/{draft}/review")
async def finish(request: Request, service: PartsOf, draft: str, command: Command) -> Response:
    """Saves the plan and, if that button was pressed, runs it: ``PlanSaved`` comes first, whatever becomes of the run."""
    form = await request.form()
    found = await _draft(service, draft)
    found = Draft.model_validate(
        {**found.model_dump(), "accepted": [r for r in form.getlist("accepted") if r in ACCEPTABLE]}
    )
    await Drafts(service.reads.pool).save(draft, found)
    if missing := found.missing():
        return await _review(service, draft, missing)
    try:
        recorded = await plans.save_plan(service, command, found.plan())
    except (ProblemError, ValidationError) as error:
        told = f"{error} {error.way_on}" if isinstance(error, ProblemError) else "Something in the draft is not valid."
        return await _review(service, draft, {"name": told})
    await Drafts(service.reads.pool).drop(draft)
    position = recorded.position or 0
    if form.get("do") == "run":
        await service.caught_up(position)
        started = await plans.run_plan(service, uuid4().hex, recorded.id, RunIn(consent=form.get("consent") == "true"))
        position = started.position or position
    return RedirectResponse(f"/plans/{recorded.id}?after={position}", 303)


async def _review(service: Parts, id: str, errors: dict[str, str]) -> Response:
    found = await _draft(service, id)
    sites = await service.reads.sites(found.site) if found.site else []
    source = await _source(service, found.source)
    sums = await service.tables.space_sums(source.analysis.id, found.spaces) if source.analysis else {}
    left = await service.tables.left_behind(source.analysis.id, found.spaces) if source.analysis else {}
    people = await service.tables.people_of(source.id, found.spaces)
    return await _step(
        service,
        id,
        "review",
        people=people,
        site=sites[0] if sites else None,
        sums=sums,
        left=left,
        untrusted=sum(not each.trusted for each in await PeopleReads(service.reads.pool).domains(found.source)),
        errors={**found.missing(), **errors},
        acceptable=ACCEPTABLE,
        command=uuid4().hex,
        status=422 if errors else 200,
    )


async def _step(service: Parts, id: str, step: str, *, status: int = 200, **values: object) -> Response:
    found = await _draft(service, id)
    source = await _source(service, found.source)
    return page(
        service,
        f"draft_{step}.html",
        status=status,
        id=id,
        draft=found,
        source=source,
        unresolved=unresolved(source),
        step=step,
        steps=STEPS,
        **values,
    )


async def _save(service: Parts, id: str, after: str, **changed: object) -> Response:
    found = await _draft(service, id)
    try:
        found = Draft.model_validate({**found.model_dump(), **changed})
    except ValidationError as error:
        raise ProblemError(
            "invalid_request",
            422,
            "The form holds something that this step does not take.",
            "Go back and choose again.",
        ) from error
    await Drafts(service.reads.pool).save(id, found)
    return RedirectResponse(f"/drafts/{id}/{after}", 303)


async def _draft(service: Parts, id: str) -> Draft:
    found = await Drafts(service.reads.pool).get(id)
    if found is None:
        raise not_found("draft", id)
    return found


async def _source(service: Parts, id: str) -> Source:
    for found in await service.reads.sources(id):
        return found
    raise not_found("source", id)
