"""The loop over a chunk's entities: one after the other, each with exactly one outcome, whatever happens to it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.executor.job import ChangedOnSite, Draining, Job, Row, SpaceGone
from shared.confluence.site import (
    AccountHidden,
    LoginExpired,
    NotOnSite,
    OutcomeUnknown,
    SeatsExhausted,
    SiteError,
    SiteForbids,
    SiteRefused,
    SiteUnauthorized,
    SiteUnavailable,
    Throttled,
    TitleTaken,
    TooLarge,
    VersionConflict,
    WritesForbidden,
)
from shared.confluence.source import (
    FileMissing,
    NotInSource,
    SourceError,
    SourceUnauthorized,
    SourceUnreachable,
)
from shared.events.catalog.work import Entity, Kind
from shared.events.claims import LeaseLost
from shared.events.database import AWAY
from shared.events.reasons import Reason
from shared.ops.vault import VaultError

log = structlog.get_logger(__name__)

# ``look``: what an earlier try may have made has to be looked for before it is made again.
Handle = Callable[[Row, bool], Awaitable[Entity]]

_LONGEST_PAUSE = 15.0
_CONFLICTS = 3  # after a lost answer; without one there is none to wait for

# What an error says about the entity. The first match counts; the order is from special to general.
REASONS: tuple[tuple[type[Exception], Reason], ...] = (
    (FileMissing, Reason.FILE_MISSING),
    (NotInSource, Reason.GONE_AT_SOURCE),
    (SourceUnauthorized, Reason.CREDENTIAL_REFUSED),
    (VaultError, Reason.CREDENTIAL_REFUSED),
    (SourceError, Reason.SOURCE_UNREADABLE),
    (SpaceGone, Reason.GONE_ON_SITE),
    (TooLarge, Reason.TOO_LARGE),
    (SeatsExhausted, Reason.SEATS_EXHAUSTED),
    (AccountHidden, Reason.ACCOUNT_HIDDEN),
    (SiteUnauthorized, Reason.CREDENTIAL_REFUSED),
    (SiteForbids, Reason.SITE_FORBIDS),
    (NotOnSite, Reason.GONE_ON_SITE),
    (VersionConflict, Reason.CHANGED_ON_SITE),
    (TitleTaken, Reason.TITLE_CLASH),
    (SiteRefused, Reason.SITE_REFUSED),
    (SiteError, Reason.SITE_REFUSED),
)


def reason_of(error: Exception) -> Reason:
    return next((reason for kind, reason in REASONS if isinstance(error, kind)), Reason.UNEXPECTED_ERROR)


async def work_through(job: Job, rows: Sequence[Row], handle: Handle) -> list[Entity]:
    """The outcomes of these rows that are not recorded yet. Raises Draining (after releasing) and LeaseLost."""
    done: list[Entity] = []
    claim = job.claim
    for n, row in enumerate(rows):
        claim.progress.update(done=n, of=len(rows))
        if claim.draining:
            await claim.release(done)
            raise Draining
        if n == 0 and claim.give_up_first:
            entity = row.failed(Reason.CRASHED_EXECUTOR)
        else:
            try:
                entity = await _one(job, row, handle)
            except Draining:
                # Nothing of this entity is under way: its last request was answered, or refused before it was sent.
                await claim.release(done)
                raise
        if claim.one_by_one:
            await claim.entity_ended(entity)
        else:
            done.append(entity)
    return done


async def _one(job: Job, row: Row, handle: Handle) -> Entity:
    if row.gone and row.kind is not Kind.RESTRICTION:  # that it is open again is carried out
        return row.skipped(Reason.GONE_AT_SOURCE)
    # Of a plan that was stopped or failed, a last request may have had its effect after its chunk was settled.
    follows = job.saved.follow not in (None, "undo")
    tries, conflicts, since = 0, 0, time.monotonic()
    while True:
        tries += 1
        try:
            return await handle(row, follows or job.has_begun(row))
        except ChangedOnSite:
            return row.skipped(Reason.CHANGED_ON_SITE)
        except Throttled as error:
            job.claim.progress.update(waiting="throttled", tries=tries)
            await _pause(job, error.retry_after or 0.5 * tries, release=not job.has_begun(row))
            since = time.monotonic()  # a site that answers 429 is there: it may take as long as it takes
        except (OutcomeUnknown, SiteUnavailable, SourceUnreachable) as error:
            if isinstance(error, OutcomeUnknown):
                job.begun(row)
            if time.monotonic() - since > job.settings.patience:
                log.warning("given up", kind=row.kind, id=row.id, error=type(error).__name__)
                return row.failed(
                    Reason.SOURCE_UNREADABLE if isinstance(error, SourceUnreachable) else Reason.SITE_UNAVAILABLE
                )
            log.warning(
                "trying again",
                kind=row.kind,
                id=row.id,
                tries=tries,
                error=type(error).__name__,
                status=getattr(error, "status", None),
            )
            job.claim.progress.update(waiting=type(error).__name__, tries=tries)
            await _pause(job, min(0.2 * 2**tries, _LONGEST_PAUSE), release=not job.has_begun(row))
        except VersionConflict:
            # What an earlier try sent may have had its effect since this one looked: the next sees whose it is.
            conflicts += 1
            if not job.has_begun(row) or conflicts > _CONFLICTS:
                log.info("entity failed", kind=row.kind, id=row.id, reason=Reason.CHANGED_ON_SITE)
                return row.failed(Reason.CHANGED_ON_SITE)
            await _pause(job, 0.2 * 2**conflicts, release=False)
        except WritesForbidden as error:
            if job.claim.purpose == "settle":
                return row.skipped(job.claim.settled_as)
            raise LeaseLost(job.claim.work.chunk) from error
        except LoginExpired as error:
            if job.has_begun(row) and not job.claim.look_first:
                # This very attempt may have written: only another attempt looks before it makes the entity again.
                raise LeaseLost(job.claim.work.chunk) from error
            await job.claim.rest(job.settings.sweep)  # by then the plan is paused, and nobody claims the chunk again
            raise Draining from error
        except AWAY:
            raise  # our own database: the chunk is taken over when it is back
        except (LeaseLost, Draining):
            raise
        except NotInSource:
            return row.skipped(Reason.GONE_AT_SOURCE)  # deleted since it was listed, and nothing has failed
        except Exception as error:
            reason = reason_of(error)
            if reason is Reason.UNEXPECTED_ERROR:
                log.exception("entity failed", kind=row.kind, id=row.id)
            else:
                log.info("entity failed", kind=row.kind, id=row.id, reason=reason, error=type(error).__name__)
            return row.failed(reason)


async def _pause(job: Job, seconds: float, *, release: bool) -> None:
    """Waits, with jitter. ``release``: a shutdown or the plan's stop ends the wait, because nothing of the entity can
    be under way."""
    seconds *= random.uniform(0.8, 1.2)
    if not release:
        await asyncio.sleep(seconds)
    elif await job.claim.rest(seconds):
        raise Draining
