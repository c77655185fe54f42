"""What must hold of a run when it is over, whatever happened during it. Reads the log and the site, not the product's sums."""

import difflib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.local import database
from shared.events.audit.check import check
from shared.events.audit.folder import CheckpointFolder
from shared.events.projections.rebuild import compare
from shared.events.projections.registry import READ_PROJECTIONS
from shared.events.projections.work import WorkProjection
from tests.chaos.scene import MIGRATOR
from tests.e2e.world import World

CREATED_ONCE = ("space", "page", "blogpost", "comment", "attachment", "attachment-version", "account", "group")


@dataclass
class Verdict:
    """Sentences about what is wrong, by the kind of promise that is broken. All empty: the run held."""

    diverged: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    exposed: list[str] = field(default_factory=list)

    def all(self) -> dict[str, list[str]]:
        return {name: found for name, found in vars(self).items() if found}


@dataclass(frozen=True)
class Happened:
    """One event of the log. ``at``: seconds since 1970."""

    position: int
    stream: str
    version: int
    type: str
    data: dict[str, Any]
    at: float


async def events_of(world: World, plan: str) -> list[Happened]:
    rows = await world.rows(
        "SELECT position, stream, version, type, body, extract(epoch FROM recorded_at)::float8 AS at FROM log.events"
        " WHERE convert_from(body, 'UTF8')::jsonb ->> 'correlation' = $1 OR stream = 'plan-' || $1 ORDER BY position",
        plan,
    )
    found = []
    for row in rows:
        body = json.loads(row["body"])
        found.append(
            Happened(
                row["position"], row["stream"], row["version"], row["type"], body.get("data", body), float(row["at"])
            )
        )
    return found


def outcomes(events: Sequence[Happened]) -> dict[str, list[tuple[str, str, str]]]:
    """Of each chunk the (kind, id, outcome) its events hand in."""
    found: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for event in events:
        if event.stream.startswith("chunk-"):
            handed_in = event.data.get("entities") or ([event.data["entity"]] if "entity" in event.data else [])
            found[event.stream[6:]] += [(e["kind"], e["id"], e["outcome"]) for e in handed_in]
    return found


async def unbalanced(world: World, events: Sequence[Happened]) -> list[str]:
    """For each task and kind: the inventory's ids are the disjoint union of the outcomes' and of what was told as left."""
    tasks: dict[str, dict[str, Any]] = {}
    chunks: dict[str, str] = {}
    for event in events:
        if event.type == "TaskStarted":
            tasks[event.data["task"]] = {"left": Counter[str]()}
        elif event.type == "InventoryTaken":
            tasks[event.data["task"]]["epoch"] = event.data["epoch"]
        elif event.type == "PhasePlanned":
            chunks |= {chunk["chunk"]: event.data["task"] for chunk in event.data["chunks"]}
        elif event.stream.startswith("task-") and "tallies" in event.data:
            for left in event.data.get("remainder") or ():
                tasks[event.data["task"]]["left"][left["kind"]] += left["count"]
            if not event.data["conserved"]:
                tasks[event.data["task"]]["refuted"] = True
    handed_in: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for chunk, found in outcomes(events).items():
        handed_in[chunks[chunk]] += [(kind, id) for kind, id, _ in found]
    wrong = []
    for task, told in tasks.items():
        if told.get("refuted"):
            wrong.append(f"task {task} says itself that it is not conserved")
        rows = await world.rows(
            "SELECT kind, id FROM work.inventory WHERE task = $1 AND epoch = $2", task, told.get("epoch")
        )
        selected = {(row["kind"], row["id"]) for row in rows}
        done = Counter(handed_in[task])
        twice = [entity for entity, times in done.items() if times > 1]
        invented = done.keys() - selected
        lost = Counter(kind for kind, _ in selected - done.keys())
        if twice or invented or lost != +told["left"]:
            wrong.append(
                f"task {task}: {len(twice)} ids with two outcomes, {len(invented)} of no inventory,"
                f" without any {dict(lost)}, told as left {dict(told['left'])}"
            )
    return wrong


def claims_of(events: Sequence[Happened]) -> dict[tuple[str, int], Happened]:
    return {(e.stream[6:], e.data["epoch"]): e for e in events if e.type == "ChunkClaimed"}


@dataclass
class Writes:
    """What the journal of the site says about the right to each write."""

    wrong: list[str]
    late: Counter[tuple[str, int]]  # (claim, connection) → requests with an effect sent after the chunk was another's


def writes(events: Sequence[Happened], journal: Sequence[dict[str, Any]]) -> Writes:
    """No effect without a claim before it, none under a settling claim, and none of two workers at once on one chunk."""
    claims = claims_of(events)
    found = Writes([], Counter())
    for entry in journal:
        if entry["account"] != MIGRATOR[0] or not entry["effects"] or not entry["claim"]:
            continue
        chunk, _, epoch = entry["claim"].rpartition(":")
        claim = claims.get((chunk, int(epoch)))
        if claim is None or claim.at > entry["time"]:
            found.wrong.append(f"{entry['method']} {entry['route']} stands before the claim it was sent under")
        elif claim.data["purpose"] != "work":
            found.wrong.append(f"{entry['method']} {entry['route']} was sent by who was to settle only")
        following = claims.get((chunk, int(epoch) + 1))
        if following is not None and following.at < entry["time"]:
            found.late[entry["claim"], entry["connection"]] += 1
    found.wrong += [
        f"{times} writes on connection {connection} under claim {claim}, which was over"
        for (claim, connection), times in found.late.items()
        if times > 1
    ]
    return found


def appended_late(events: Sequence[Happened]) -> list[str]:
    """Events of a worker whose chunk another had already claimed."""
    wrong, epochs = [], dict[str, int]()
    for event in events:
        if event.stream.startswith("chunk-"):
            epoch = event.data["epoch"]
            if epoch < epochs.get(event.stream, 0):
                wrong.append(f"{event.type} at {event.position} comes from a worker that had lost its chunk")
            epochs[event.stream] = max(epoch, epochs.get(event.stream, 0))
    return wrong


def created(journal: Sequence[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """How often each thing was made and is still there, by what it is."""
    names: dict[tuple[str, str], tuple[str, str]] = {}
    there: Counter[tuple[str, str]] = Counter()
    for entry in journal:
        for effect in entry["effects"]:
            if effect["kind"] not in CREATED_ONCE:
                continue
            if effect["verb"] == "created":
                names.setdefault((effect["kind"], effect["id"]), (effect["kind"], effect["identity"]))
                there[effect["kind"], effect["identity"]] += 1
            elif effect["verb"] == "purged" or (
                effect["verb"] == "deleted" and effect["kind"] not in ("page", "blogpost")
            ):
                name = names.get((effect["kind"], effect["id"]))
                if name is not None:
                    there[name] -= 1
    return there


def strays(events: Sequence[Happened], journal: Sequence[dict[str, Any]]) -> list[str]:
    """What the migrator removed from the site and no event tells of."""
    told = {id for event in events for id in event.data.get("strays") or ()}
    return [
        f"{effect['identity']} was removed, and no event says so"
        for entry in journal
        if entry["account"] == MIGRATOR[0]
        for effect in entry["effects"]
        if effect["verb"] in ("deleted", "purged")
        and effect["kind"] in ("page", "blogpost", "comment", "attachment")
        and effect["id"] not in told
    ]


def meddled(before: dict[str, Any], after: dict[str, Any], journal: Sequence[dict[str, Any]]) -> list[str]:
    """What was on the site before, or was put there by others meanwhile, and was changed by the migrator."""
    wrong = []
    there = {space["key"]: space for space in after["spaces"]}
    wrong += [f"space {s['key']} is not as it was" for s in before["spaces"] if there.get(s["key"]) != s]
    groups = {group["name"]: group for group in after["groups"]}
    for group in before["groups"]:
        now = groups.get(group["name"])
        if now is None or not set(group["members"]) <= set(now["members"]) or now["access"] != group["access"]:
            wrong.append(f"group {group['name']} lost something")
        elif group["name"] in ("locals", "site-admins") and now != group:
            wrong.append(f"group {group['name']} is not as it was")
    accounts = {account["email"]: account for account in after["accounts"]}
    for account in before["accounts"]:
        now = accounts.get(account["email"])
        if now is None or now["name"] != account["name"] or now["active"] != account["active"]:
            wrong.append("an account is not as it was")
    others = {
        effect["id"]
        for entry in journal
        if entry["account"] != MIGRATOR[0]
        for effect in entry["effects"]
        if effect["verb"] == "created"
    }
    wrong += [
        f"{effect['verb']} {effect['identity']}, which somebody else had put there"
        for entry in journal
        if entry["account"] == MIGRATOR[0]
        for effect in entry["effects"]
        if effect["id"] in others and effect["verb"] != "created"
    ]
    return wrong


async def log_and_projections(world: World) -> list[str]:
    """The whole log against its links and every checkpoint, inside the database and outside; every projection against it.

    What ``cloudward audit verify`` and ``cloudward projections compare`` do.
    """
    data = world.house.data
    wrong = []
    async with database(data, "cw_migrate", become="cw_owner") as pool:
        found = await check(pool, None, CheckpointFolder(data / "checkpoints"))
        if not found.ok:
            wrong.append(f"the log does not verify: {found.problem} at {found.position}")
        for projection in (*READ_PROJECTIONS, WorkProjection()):
            if differences := await compare(pool, projection):
                wrong.append(f"projection {projection.name} differs from its rebuild: {differences[:3]}")
    return wrong


def difference(one: str, other: str, most: int = 6) -> str:
    """The first lines in which two documents differ."""
    lines = difflib.unified_diff(one.splitlines(), other.splitlines(), "undisturbed", "this run", lineterm="", n=1)
    return "\n".join(list(lines)[2 : 2 + most * 3])
