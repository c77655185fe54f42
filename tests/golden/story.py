"""Writes the golden log of this release: a log with every kind of event, as an export, and what it folds to.

``python -m tests.golden.story`` writes ``<release>.ndjson`` (once: what is released is never written anew) and
``schemas.json``. Give ``--again`` before the release to write the log of a release that is not out yet.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.dashboard.domain.past import Past
from shared.events import catalog
from shared.events.audit import verify_log
from shared.events.audit.export import line, note_line
from shared.events.audit.note import Checkpoint, SigningKey
from shared.events.audit.tree import Frontier
from shared.events.catalog import access, check, chunk, plan, system, target, task, webhook, work
from shared.events.catalog.analysis import (
    AnalysisFailed,
    AnalysisFailure,
    AnalysisPlanned,
    AnalysisStarted,
    GroupsListed,
    PeopleListed,
    SpacesChunk,
)
from shared.events.catalog.source import BaseUrlsSet, DomainsReviewed, MapRecorded, SourceCredentialReplaced
from shared.events.catalog.work import Phase, TaskKind
from shared.events.checks import Check
from shared.events.contract import Actor, Context, Event, Recorded, encode, event_types
from shared.events.reasons import Reason
from shared.events.record import leaf, link, origin, record
from shared.events.schema import RELEASE
from tests.store.test_projections import SITE, SOURCE, claimed, counts, ended, finished, history, id_of, phase

FOLDER = Path(__file__).parent
SCHEMAS = FOLDER / "schemas.json"
LOG = "0123456789abcdef" * 2
FORMER = work.ReferenceCount(kind="user", why="no_account", count=3)
LINKED: dict[str, Any] = {"rewritten": 2, "references": (FORMER,), "waits": ("8", "9")}
_STREAM_FIELD = {"access": "subject"}  # where the field that names the stream is not called like the category
BEGAN = 1_795_000_000_000_000  # µs since 1970
# No secret: golden logs are signed by everybody's key, so that reading them needs no other.
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def story() -> list[Event]:
    """A plan that fails, one that is stuck, paused, stopped and archived, and what is told about the log itself."""
    second, space = id_of("second"), id_of("space-c")
    saved = next(event for event in history() if isinstance(event, plan.PlanSaved))
    ending: dict[str, Any] = {"tallies": (), "reasons": (), "conserved": True}
    sums: dict[str, Any] = {**ending, "spaces_migrated": 0, "spaces_failed": 0}
    chosen: dict[str, Any] = {"task": space, "plan": second}
    whole = plan.PlanFinished(plan=id_of("third"), **sums)
    return [
        *history(),
        saved.model_copy(update={"plan": second, "spaces": ("1",), "predecessor": saved.plan, "follow": "retry"}),
        plan.PlanStarted(plan=second, consent="given_before"),
        task.TaskStarted(kind=TaskKind.SPACE, space="1", target=id_of("tc"), marker=id_of("o"), **chosen),
        target.SpaceReserved(target=id_of("tc"), site=SITE, plan=second, task=space, marker=id_of("o")),
        phase(space, Phase.INVENTORY, "c0", count=0).model_copy(update={"plan": second}),
        claimed("c0", space),
        chunk.ChunkEnded(
            chunk=id_of("c0"),
            epoch=1,
            entities=(),
            inventory=chunk.InventoryResult(
                counts=counts(space=1, page=2), digest="1" * 64, left=(chunk.LeftCount(kind="trash", count=2),)
            ),
        ),
        task.InventoryTaken(chunk=id_of("c0"), epoch=1, counts=counts(space=1, page=2), digest="1" * 64, **chosen),
        plan.PlanPaused(plan=second),
        plan.PlanResumed(plan=second),
        target.CredentialExpired(site=SITE),
        plan.PlanPaused(plan=second, reason="credential_expired"),
        target.SiteCredentialReplaced(site=SITE, credential="oauth", login=id_of("login"), site_admin=True),
        SourceCredentialReplaced(source=SOURCE),
        BaseUrlsSet(source=SOURCE, urls=1),
        plan.PlanResumed(plan=second),
        plan.PlanStuck(plan=second, position=60, code="undecidable"),
        plan.PlanUnstuck(plan=second),
        phase(space, Phase.SPACE, "c1").model_copy(update={"plan": second}),
        claimed("c1", space),
        plan.PlanStopRequested(plan=second),
        finished("c1", ended("space", "1", target="9002")),
        phase(space, Phase.BODY, "c2").model_copy(update={"plan": second}),
        claimed("c2", space),
        chunk.InvitationBegun(chunk=id_of("c2"), epoch=1, person=id_of("ann")),
        finished("c2", ended("body", "7").model_copy(update=LINKED)),
        task.TaskEnded(
            remainder=counts(page=2), remainder_reason=Reason.PLAN_STOPPED, stopped=True, **chosen, **ending
        ),
        target.SpaceReleased(target=id_of("tc"), plan=second),
        plan.PlanStopped(plan=second, **sums),
        plan.PlanArchived(plan=second),
        saved.model_copy(update={"plan": id_of("third"), "spaces": ()}),
        plan.PlanStarted(plan=id_of("third"), consent="given"),
        whole,
        saved.model_copy(update=partly(id_of("fourth"))),
        check.ChecksStarted(
            analysis=id_of("round"), plan=id_of("fourth"), source=SOURCE, site=SITE, chunk=id_of("round-chunk")
        ),
        check.ChecksCompleted(
            analysis=id_of("round"),
            plan=id_of("fourth"),
            results=(
                check.CheckResult(check=Check.SPACE_KEYS, result="warning", findings=1),
                check.CheckResult(check=Check.SITE_REACHABLE, result="passed"),
            ),
        ),
        plan.PlanCheckDecided(plan=id_of("fourth"), check=Check.SPACE_KEYS, excluded=True),
        plan.PlanScheduled(plan=id_of("fourth"), start_at=BEGAN + 10**9, consent="given"),
        plan.PlanUnscheduled(plan=id_of("fourth")),
        plan.PlanScheduled(plan=id_of("fourth"), start_at=BEGAN + 10**9, consent="given_before"),
        plan.PlanStartRefused(plan=id_of("fourth"), check=Check.ADDRESSES),
        plan.PlanStarted(plan=id_of("fourth"), consent="given_before"),
        task.TaskStarted(
            task=id_of("space-d"),
            plan=id_of("fourth"),
            kind=TaskKind.SPACE,
            space="1",
            target=id_of("td"),
            marker=id_of("m"),
            what="attachments",
        ),
        task.SpaceSkipped(
            task=id_of("space-d"),
            plan=id_of("fourth"),
            space="1",
            remainder=counts(page=2),
            remainder_reason=Reason.SPACE_KEY_CONFLICT,
            reason=Reason.SPACE_KEY_CONFLICT,
            **ending,
        ),
        AnalysisStarted(analysis=id_of("again"), source=SOURCE, chunk=id_of("d0")),
        DomainsReviewed(source=SOURCE, trusted=2, untrusted=1),
        MapRecorded(source=SOURCE, map=id_of("map"), groups=2, dropped=1, users=3),
        PeopleListed(analysis=id_of("again"), users=4),
        GroupsListed(analysis=id_of("again"), groups=2, memberships=5),
        AnalysisPlanned(
            analysis=id_of("again"),
            epoch=1,
            slice=0,
            last=True,
            spaces=2,
            chunks=(SpacesChunk(chunk=id_of("d1"), first=0, last=1),),
        ),
        AnalysisFailed(analysis=id_of("again"), source=SOURCE, code=AnalysisFailure.SOURCE_UNREACHABLE),
        system.LogRestored(position=70),
        system.LogSealed(size=71, root="2" * 64),
        system.LogExported(selection="plan", plan=second, first=51, last=70, events=19),
        system.LogVerified(checked=73, problem="checkpoint", position=12),
        system.PersonErased(person=id_of("ann")),
        access.SignedIn(subject=id_of("bea"), role="operator", method="oidc"),
        access.SignInRefused(subject=id_of("cy"), method="one_time_link", code="link_invalid"),
        access.SignedOut(subject=id_of("bea")),
        access.TokenCreated(subject=id_of("machine"), role="viewer", days=30),
        access.TokenRevoked(subject=id_of("machine")),
        webhook.WebhookRegistered(webhook=id_of("hook"), events=("plan.failed", "plan.finished")),
        webhook.WebhookSecretRotated(webhook=id_of("hook")),
        webhook.WebhookRemoved(webhook=id_of("hook")),
    ]


def partly(name: str) -> dict[str, Any]:
    """A plan that takes spaces in part, under other keys, and leaves out those whose key is taken."""
    scopes = (
        plan.SpaceScope(space="1", what="attachments"),
        plan.SpaceScope(space="2", roots=("11", "12")),
    )
    return {
        "plan": name,
        "spaces": ("1", "2"),
        "scopes": scopes,
        "key_conflicts": "skip",
        "new_keys": ("2",),
        "addresses": "plan",
        "copy_of": id_of("second"),
    }


def rows() -> list[Recorded]:
    """The story as a log holds it."""
    versions: dict[str, int] = {}
    found: list[Recorded] = []
    current = origin(LOG)
    for position, event in enumerate(story(), 1):
        own = LOG if event.CATEGORY == "audit" else getattr(event, _STREAM_FIELD.get(event.CATEGORY, event.CATEGORY))
        stream = f"{event.CATEGORY}-{own}"
        versions[stream] = versions.get(stream, -1) + 1
        context = Context(
            actor=Actor(
                kind=("service", "token", "person")[position % 3],  # type: ignore[arg-type]
                key="a" * 32,
                authentication=("database_role", "token", "oidc", None)[position % 4],  # type: ignore[arg-type]
            ),
            correlation="b" * 32,
            causation="c" * 32,
            command="d" * 32 if position % 2 else None,
            trace=f"00-{'e' * 32}-{'f' * 16}-01" if position % 5 == 0 else None,
        )
        row = Recorded(
            position,
            uuid5(UUID(LOG), str(position)).hex,
            stream,
            versions[stream],
            type(event).__name__,
            encode(event, context),
            BEGAN + position * 1_000_001,
            b"",
        )
        current = link(current, leaf(record(row)))
        found.append(Recorded(*(getattr(row, name) for name in Recorded.__slots__[:-1]), current))
    return found


def golden() -> bytes:
    log, frontier = rows(), Frontier()
    for row in log:
        frontier.add(leaf(record(row)))
    size = len(log)
    selection = {"kind": "all", "first": 1, "last": size}
    begun = {
        "format": "cloudward-export-1",
        "log": LOG,
        "selection": selection,
        "head": size,
        "link": log[-1].link.hex(),
    }
    note = Checkpoint(LOG, size, frontier.root).signed([KEY])
    return b"".join(
        [
            note_line("begun", LOG, 0, begun),
            *(line(row, LOG) for row in log),
            note_line("checkpoint", LOG, size, {"note": note, "size": size}),
            note_line("ended", LOG, size, {"events": size, "position": size}),
        ]
    )


def read(file: Path) -> list[Recorded]:
    """The rows of a golden log, by the verifier's own reader."""
    found = []
    with file.open("rb") as lines:
        for each in verify_log.read_lines(lines):
            if isinstance(each, verify_log.Event):
                micros, id_, stream, version, type_, body = each.parts
                row = (
                    each.position,
                    id_.decode(),
                    stream.decode(),
                    int(version),
                    type_.decode(),
                    body,
                    micros,
                    each.link,
                )
                found.append(Recorded(*row))
                assert leaf(record(found[-1])) == each.leaf()
    return found


def folded(file: Path) -> list[dict[str, Any]]:
    """What the plans of a log are at its end. Each event is of this release's schema: upcast, and valid."""
    pasts: dict[str, Past] = {}
    for row in read(file):
        event = row.event
        if isinstance(event, plan.PlanSaved):
            pasts[event.plan] = Past()
        for name, past in pasts.items():
            if row.category == "chunk" or name == getattr(event, "plan", None):
                past.apply(row)
    documents = [past.document() for past in pasts.values()]
    return [document.model_dump(mode="json") for document in documents if document is not None]


def schemas() -> dict[str, dict[str, Any]]:
    """Each event type of the catalog: its schema's number, and the JSON schema of its data, without words for people."""
    found = {}
    for name, type_ in sorted(event_types().items()):
        if type_.__module__.startswith(catalog.__name__ + "."):
            found[name] = {"schema": type_.SCHEMA, "data": _bare(type_.model_json_schema())}
    return found


def _bare(value: Any, naming: bool = False) -> Any:
    """``naming``: the keys are names of fields, of which one may be called ``title``."""
    if isinstance(value, dict):
        words = set() if naming else {"title", "description"}
        return {k: _bare(v, k in ("properties", "$defs")) for k, v in value.items() if k not in words}
    return [_bare(each) for each in value] if isinstance(value, list) else value


def main(arguments: list[str]) -> int:
    file = FOLDER / f"{RELEASE}.ndjson"
    if not file.exists() or "--again" in arguments:
        file.write_bytes(golden())
        file.with_suffix(".plans.json").write_text(json.dumps(folded(file), indent=1, sort_keys=True) + "\n")
    SCHEMAS.write_text(json.dumps(schemas(), indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
