"""Plans as files: checked as a whole, then saved like any other plan."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from services.dashboard.domain import planfile
from services.dashboard.domain.access import Permission
from services.dashboard.domain.planfile import FileSpace, PlanFile, Read
from services.dashboard.domain.problems import ProblemError
from services.dashboard.domain.shapes import CheckedFile, Recorded
from services.dashboard.handlers.context import API, CommandId, Needs, Parts, PartsOf, envelope, send
from shared.events.commands import SavePlan, Scope
from shared.events.types import Id

router = APIRouter(tags=["plans"], dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])

_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/yaml": {"schema": {"type": "string"}}}}
}
# What is not a plan file at all is told like any other mistake.
_ANY: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/yaml": {"schema": {}}}}}


@router.get("/plan-file/schema", summary="JSON schema of a plan file")
async def file_schema() -> dict[str, Any]:
    return planfile.schema()


@router.post("/plan-file/check", summary="Check a plan file", openapi_extra=_ANY)
async def check_file(service: PartsOf, request: Request) -> CheckedFile:
    """Everything that is wrong with it at once, each with its line and what to do; nothing is saved."""
    command, found = await _command(service, await _text(request))
    return CheckedFile(
        ok=not found.mistakes,
        mistakes=[CheckedFile.Mistake(**_fields(m)) for m in sorted(found.mistakes)],
        plan=command,
    )


@router.post("/plan-file", status_code=201, summary="Save a plan from a file", openapi_extra=_BODY)
async def save_file(service: PartsOf, id: CommandId, request: Request) -> Recorded:
    command, found = await _command(service, await _text(request))
    if found.mistakes or command is None:
        mistakes = sorted(found.mistakes)
        count = f"{len(mistakes)} mistake{'' if len(mistakes) == 1 else 's'}"
        raise ProblemError(
            "plan_file_wrong",
            422,
            f"The plan file has {count}, so nothing was saved.",
            f"Mend these lines, then try again; {API}/plan-file/check says what is wrong in each.",
            # What is wrong and what to write instead names spaces and plans: the check says it, a problem document does not.
            [{"line": m.line, "column": m.column} for m in mistakes],
        )
    return await send(service, SavePlan(**envelope(id), **command))


def _fields(mistake: planfile.Mistake) -> dict[str, Any]:
    return {name: getattr(mistake, name) for name in ("line", "column", "where", "problem", "remedy")}


async def _text(request: Request) -> str:
    taken = bytearray()
    async for piece in request.stream():
        taken += piece
        if len(taken) > 4 * planfile.MOST:
            raise ProblemError(
                "too_large", 413, "The file is too large.", "A plan file has at most a million characters."
            )
    if not taken:
        raise ProblemError(
            "empty", 422, "The request has no body.", "Send the plan file as it is, as application/yaml."
        )
    try:
        return taken.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProblemError(
            "not_text", 422, f"The file is not UTF-8 text (byte {error.start}).", "Save it as UTF-8."
        ) from error


async def _command(service: Parts, text: str) -> tuple[dict[str, Any] | None, Read]:
    """The command's fields, or the mistakes; names are looked up as far as the file can be understood."""
    found = planfile.read(text)
    raw = found.raw
    source = await _named(service, found, "source", raw.get("source"))
    site = await _named(service, found, "site", raw.get("site"))
    spaces = raw.get("spaces")
    by_key: dict[str, str] = {}
    if source is not None:
        keys = await service.reads.space_keys(source)
        if keys is None:
            problem = f"The source “{raw['source']}” has no completed analysis, so its spaces are not known."
            found.mistake(("source",), problem, "Analyze it first: cloudward analyze SOURCE.")
        else:
            by_key = {key.lower(): space for space, key in keys.items()}
            for n, each in enumerate(spaces if isinstance(spaces, list) else ()):
                key = each.get("key") if isinstance(each, dict) else each
                if isinstance(key, str | int) and str(key).lower() not in by_key:
                    found.mistake(("spaces", n), *planfile.unknown("space", str(key), keys.values()))
    _doubles(found, spaces)
    if isinstance(name := raw.get("plan"), str | int) and await service.reads.plan_named(str(name)):
        found.mistake(("plan",), f"A plan is called “{name}” already.", "Choose another name.")
    if found.mistakes or found.file is None or source is None or site is None:
        return None, found
    return _fields_of(found.file, source, site, by_key), found


def _doubles(found: Read, spaces: Any) -> None:
    seen: set[str] = set()
    for n, each in enumerate(spaces if isinstance(spaces, list) else ()):
        key = str(each.get("key") if isinstance(each, dict) else each).lower()
        if key in seen:
            found.mistake(("spaces", n), f"The space {key.upper()} is there twice.", "Keep one of the two.")
        seen.add(key)


async def _named(service: Parts, found: Read, what: str, name: Any) -> str | None:
    if not isinstance(name, str | int):
        return None
    known = await service.reads.names(what)
    for id, called in known.items():
        if str(name) in (id, called):
            return id
    found.mistake((what,), *planfile.unknown(what, str(name), known.values()))
    return None


def _fields_of(file: PlanFile, source: Id, site: Id, by_key: dict[str, str]) -> dict[str, Any]:
    scopes: list[Scope] = []
    new_keys: dict[str, str] = {}
    spaces: list[str] = []
    for each in file.spaces if isinstance(file.spaces, list) else ():
        one = each if isinstance(each, FileSpace) else FileSpace(key=each)
        id = by_key[one.key.lower()]
        spaces.append(id)
        if one.move != "all" or one.pages:
            scopes.append(Scope(space=id, what=one.move, roots=tuple(one.pages)))
        if one.new_key is not None:
            new_keys[id] = one.new_key
    return {
        "name": file.plan,
        "source": source,
        "site": site,
        "stage": file.stage,
        "users": file.users,
        "groups": file.groups,
        "spaces": "all" if file.spaces == "all" else spaces,
        "filter": planfile.space_filter(file.filter),
        "accepted": [reason.value for reason in file.accept],
        "scopes": scopes,
        "key_conflicts": file.on_key_conflict,
        "new_keys": new_keys,
        "addresses": file.addresses,
        "map": file.map,
        "access_group": file.access_group,
        "options": file.options,
    }
