"""The last phase: the space gets its permissions and its own description. Until here only the migrator sees it."""

from services.executor.entities import work_through
from services.executor.job import Job, Row
from services.executor.phases.inventory import VIEWING
from services.executor.phases.people import access_group
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
    closed = await job.pool.fetchval(
        "SELECT true FROM work.outcome WHERE task = $1 AND kind = 'restriction' AND outcome = 'failed' LIMIT 1",
        job.claim.work.task,
    )
    rows = await job.rows()
    wanted: dict[str, Permission] = {}
    viewers: set[tuple[str, str | None]] = set()
    if rows:
        ids = {row.id for row in rows}
        async for permission in job.source.permissions(job.space_id):
            if permission.operation == VIEWING:
                viewers.add((permission.subject_kind, permission.subject))
            if permission.id in ids:
                wanted[permission.id] = permission
    access: list[str] = []
    key = await job.key_on_site(await job.source_key())

    async def handle(row: Row, look: bool) -> Entity:
        if closed:
            return row.skipped(Reason.KEPT_PRIVATE)
        if mode == "roles":
            return row.skipped(Reason.ROLES_SITE)
        permission = wanted.get(row.id)
        if permission is None:
            return row.skipped(Reason.GONE_AT_SOURCE)
        operation = OPERATIONS.get(permission.operation)
        if operation is None:
            return row.skipped(Reason.NO_CLOUD_COUNTERPART)
        subject = await _subject(job, permission, access)
        if isinstance(subject, Reason):
            return row.skipped(subject)
        if (permission.subject_kind, permission.subject) not in viewers:
            return row.skipped(Reason.VIEWING_NOT_GRANTED)
        kind, identifier = subject
        await job.site.add_space_permission(key, "user" if kind == "user" else "group", identifier, *operation)
        return row.migrated()

    done = await work_through(job, rows, handle)
    if job.claim.purpose == "work" and await _is_first(job):
        space, source = await job.space(), await job.source.space(job.space_id)
        ours = job.marker is not None and job.marker in space.description
        if ours and space.description != source.description and not closed:
            await job.site.update_space(key, source.name[:200] or key, source.description)
    await job.claim.end(done)


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
