"""Restrictions of a page or blog post, from the source's people and groups to the site's."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from services.executor.job import Job
from shared.confluence.model import Content, Restriction
from shared.confluence.site import OutcomeUnknown, SiteError, SiteUnavailable, Throttled
from shared.events.catalog.work import Kind
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


async def wanted(job: Job, content: Content) -> Wanted:
    """The migrator stays in every list, or it would lose the page. A holder who is not on the site is left out; where none is
    left, the page stays closed."""
    holders: dict[Operation, tuple[list[str], list[str]]] = {}
    missing, held = False, set[str]()
    for restriction in content.restrictions:
        accounts, groups = holders.setdefault(restriction.operation, ([job.me.account_id], []))
        account, group = await _holder(job, restriction)
        missing |= account is None and group is None
        if account or group:
            held.add(restriction.operation)
        if account and account not in accounts:
            accounts.append(account)
        if group and group not in groups:
            groups.append(group)
    if "read" in holders and "read" not in held:
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
        await job.site.set_restrictions(target, {"read": ([job.me.account_id], [])})
        raise Refused from error


async def bring(job: Job, content: Content, target: str, *, ours: bool = False) -> Wanted | None:
    """Restricts what an earlier plan, or this one (``ours``), made as the source has it now. None: somebody changed the
    restrictions on the site meanwhile; then they stay as they are."""
    now = await wanted(job, content)
    if not ours:
        last = await job.outcome(Kind.RESTRICTION, content.id)
        if last is not None and last["digest"] == now.digest:
            return now
        there = digest(await job.site.restrictions(target))
        if there == now.digest:
            return now
        before = {digest({}) if last is None else last["digest"], digest({"read": ([job.me.account_id], [])})}
        if None not in before and there not in before:
            return None
    await set_as(job, target, now)
    return now
