"""Restrictions of a page or blog post, from the source's people and groups to the site's."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from services.executor.job import Job
from shared.confluence.model import Content, Restriction
from shared.confluence.site import OutcomeUnknown, SiteError, SiteUnavailable, Throttled
from shared.events.reasons import GENERIC_GROUPS, Reason

Operation = Literal["read", "update"]
Holders = Mapping[Operation, tuple[Collection[str], Collection[str]]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """``holders``: by operation the accounts and groups of the site. ``reason``: the defect with which it moves."""

    holders: dict[Operation, tuple[list[str], list[str]]]
    reason: Reason | None

    @property
    def digest(self) -> str:
        return digest(self.holders)


def digest(holders: Holders) -> str:
    """Of all holders, whatever their order. Ids only; with the migrator's account it is over 64 bytes."""
    plain = {operation: [sorted(accounts), sorted(groups)] for operation, (accounts, groups) in holders.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def hides(content: Content) -> bool:
    """Whether not everybody may see it."""
    return any(restriction.operation == "read" for restriction in content.restrictions)


async def wanted(job: Job, content: Content, above: Sequence[Content] = ()) -> Wanted:
    """The migrator stays in every list, or it would lose the page. A holder who is not on the site is left out; where none is
    left, the page stays closed. ``above``: pages that hide it at the source and do not stand above it on the site: it takes
    over what one of them says. Who is in several lists at once no list can say: then it stays closed, too."""
    holders: dict[Operation, tuple[list[str], list[str]]] = {}
    missing, held = False, set[str]()
    inherited = [r for page in above for r in page.restrictions if r.operation == "read"]
    several = len(above) + hides(content) > 1
    for restriction in (*content.restrictions, *inherited):
        accounts, groups = holders.setdefault(restriction.operation, ([job.me.account_id], []))
        account, group = await _holder(job, restriction)
        missing |= account is None and group is None
        if account or group:
            held.add(restriction.operation)
        if account and account not in accounts:
            accounts.append(account)
        if group and group not in groups:
            groups.append(group)
    if several:
        holders |= _closed(job)
    if several or ("read" in holders and "read" not in held):
        return Wanted(holders, Reason.KEPT_CLOSED)
    return Wanted(holders, Reason.PRINCIPAL_NOT_ON_SITE if missing else None)


async def _holder(job: Job, restriction: Restriction) -> tuple[str | None, str | None]:
    if restriction.person is not None:
        return await job.account(restriction.person), None
    if restriction.group is None or restriction.group.lower() in GENERIC_GROUPS:
        return None, None
    return None, await job.group(restriction.group)


class Refused(Exception):
    """The site did not set it: what it is about is closed to all but the migrator."""


async def set_as(job: Job, target: str, now: Wanted) -> None:
    """Raises Refused. A restriction that the site refuses closes the page."""
    try:
        await job.site.set_restrictions(target, now.holders)
    except (Throttled, OutcomeUnknown, SiteUnavailable):
        raise
    except SiteError as error:
        await close(job, target)
        raise Refused from error


def _closed(job: Job) -> dict[Operation, tuple[list[str], list[str]]]:
    return {"read": ([job.me.account_id], [])}


async def close(job: Job, target: str) -> str:
    """To all but the migrator. Returns the digest."""
    await job.site.set_restrictions(target, _closed(job))
    return digest(_closed(job))


async def bring(
    job: Job,
    content: Content,
    target: str,
    above: Sequence[Content] = (),
    lent: Sequence[Content] = (),
    *,
    ours: bool = False,
) -> Wanted | None:
    """Restricts what an earlier plan, or this one (``ours``), made as the source has it now. ``lent``: pages whose restrictions it may
    have taken over where it stood until now. None: somebody changed the restrictions on the site meanwhile; then they stay as
    they are, and so they do, as what was wanted, where nothing has changed at the source."""
    now = await wanted(job, content, above)
    if not ours:
        last = await job.restricted(content.id, target)
        unchanged = last is not None and last["digest"] == now.digest
        if unchanged and not lent:
            return now
        there = digest(await job.site.restrictions(target))
        if there == now.digest:
            return now
        taken_over = (await wanted(job, content, lent)).digest
        known = {digest({}) if last is None else last["digest"], digest(_closed(job)), taken_over}
        if None not in known and there not in known:
            return now if unchanged else None
    await set_as(job, target, now)
    return now
