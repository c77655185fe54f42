"""The last phase: the space gets its permissions and its own description. Until here only the migrator sees it."""

from typing import Literal

from services.executor.entities import work_through
from services.executor.job import Job, Row
from services.executor.phases.people import access_group
from shared.confluence import roles
from shared.confluence.cloud import RoleAssignment, SiteRole
from shared.confluence.model import Permission
from shared.events.catalog.work import Entity
from shared.events.reasons import GENERIC_GROUPS, Reason

# Space permission of an export or JSON-RPC → operation and target of Cloud's v1 permission. What is not here has no
# counterpart on Cloud.
OPERATIONS: dict[str, tuple[str, str]] = {
    "VIEWSPACE": ("read", "space"),
    "REMOVEOWNCONTENT": ("delete", "space"),
    "EDITSPACE": ("create", "page"),
    "REMOVEPAGE": ("delete", "page"),
    "EDITBLOG": ("create", "blogpost"),
    "REMOVEBLOG": ("delete", "blogpost"),
    "CREATEATTACHMENT": ("create", "attachment"),
    "REMOVEATTACHMENT": ("delete", "attachment"),
    "COMMENT": ("create", "comment"),
    "REMOVECOMMENT": ("delete", "comment"),
    "SETPAGEPERMISSIONS": ("restrict_content", "space"),
    "EXPORTSPACE": ("export", "space"),
    "SETSPACEPERMISSIONS": ("administer", "space"),
}


async def open_space(job: Job) -> None:
    assert job.space_id is not None
    mode = await job.site.role_mode()
    # Not where the site refused a restriction. What lies below a restricted page that did not move is hidden by itself.
    closed = await job.pool.fetchval(
        "SELECT true FROM work.outcome WHERE task = $1 AND kind = 'restriction' AND outcome = 'failed' LIMIT 1",
        job.claim.work.task,
    )
    rows = await job.rows()
    wanted: dict[str, Permission] = {}
    held: dict[tuple[str, str | None], set[tuple[str, str]]] = {}
    if rows:
        ids = {row.id for row in rows}
        async for permission in job.source.permissions(job.space_id):
            if permission.operation in OPERATIONS:
                subject = (permission.subject_kind, permission.subject)
                held.setdefault(subject, set()).add(OPERATIONS[permission.operation])
            if permission.id in ids:
                wanted[permission.id] = permission
    known = [role async for role in job.site.space_roles((await job.space()).id)] if rows and mode == "roles" else []
    access: list[str] = []
    key = await job.key_on_site(await job.source_key())

    async def handle(row: Row, look: bool) -> Entity:
        if closed:
            return row.skipped(Reason.KEPT_PRIVATE)
        permission = wanted.get(row.id)
        if permission is None:
            return row.skipped(Reason.GONE_AT_SOURCE)
        operation = OPERATIONS.get(permission.operation)
        if operation is None:
            return row.skipped(Reason.NO_CLOUD_COUNTERPART)
        everybody = mode == "roles" and permission.subject_kind in _CLASSES
        subject = ("", "") if everybody else await _subject(job, permission, access)
        if isinstance(subject, Reason):
            return row.skipped(subject)
        holds = frozenset(held[permission.subject_kind, permission.subject])
        if roles.VIEW not in holds:
            return row.skipped(Reason.VIEWING_NOT_GRANTED)
        kind, identifier = subject
        if mode == "roles":
            return await _by_role(job, row, known, holds, operation, subject, permission.subject_kind)
        await job.site.add_space_permission(key, "user" if kind == "user" else "group", identifier, *operation)
        return row.migrated()

    done = await work_through(job, rows, handle)
    if job.claim.purpose == "work" and await _is_first(job):
        space, source = await job.space(), await job.source.space(job.space_id)
        ours = any(marker in space.description for marker in job.markers)
        if ours and space.description != source.description and not closed:
            await job.site.update_space(key, source.name[:200] or key, source.description)
    await job.claim.end(done)


# How a role's holder is named where it is nobody in particular.
_CLASSES = {"anonymous": "anonymous-users", "logged_in": "all-licensed-users"}


async def _by_role(
    job: Job,
    row: Row,
    known: list[SiteRole],
    holds: frozenset[tuple[str, str]],
    operation: tuple[str, str],
    subject: tuple[str, str],
    subject_kind: str,
) -> Entity:
    """The one role of a subject is given with its right to view; of its other rights it is told whether the role has them."""
    role = roles.role_for(known, holds)
    if role is None or operation not in roles.operations(role):
        return row.skipped(Reason.NOT_IN_A_ROLE)
    if operation == roles.VIEW:
        kind: Literal["USER", "GROUP"] = "USER" if subject[0] == "user" else "GROUP"
        given = RoleAssignment(kind, subject[1], role.id)
        if subject_kind in _CLASSES:
            given = RoleAssignment("ACCESS_CLASS", _CLASSES[subject_kind], role.id)
        await job.site.assign_roles((await job.space()).id, [given])
    return row.migrated()


async def _is_first(job: Job) -> bool:
    """The phase's first chunk also writes the space's own description."""
    first = await job.pool.fetchval(
        "SELECT chunk FROM work.chunk WHERE task = $1 AND phase = 'opening' ORDER BY depth, first_ordinal LIMIT 1",
        job.claim.work.task,
    )
    return bool(first == job.claim.work.chunk)


async def _subject(job: Job, permission: Permission, access: list[str]) -> tuple[str, str] | Reason:
    if permission.subject_kind == "anonymous":
        return "user", "anonymous"
    if permission.subject_kind == "logged_in":
        if not access:
            group = await access_group(job)
            access.extend([group] if group else [])
        return ("group", access[0]) if access else Reason.ACCESS_GROUP_UNNAMED
    assert permission.subject is not None
    if permission.subject_kind == "person":
        account = await job.account(permission.subject)
        return ("user", account) if account else Reason.PRINCIPAL_NOT_ON_SITE
    if permission.subject.lower() in GENERIC_GROUPS:
        return Reason.GENERIC_GROUP
    group = await job.group(permission.subject)
    return ("group", group) if group else Reason.PRINCIPAL_NOT_ON_SITE
