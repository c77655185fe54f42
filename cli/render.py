"""How the command line shows things: tables, bars, reports. Figures first, colour only repeats what the words say."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from cli.client import ClientError
from shared.events.reasons import MENDED

# Into a file or a pipe, lines are as long as they are: whoever reads them there breaks them as they like.
_PIPE_WIDTH = 100_000
out = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _PIPE_WIDTH)

STYLES = {"READY": "default", "RUNNING": "blue", "FINISHED": "green", "STOPPED": "yellow", "FAILED": "red"}
MARKS = {"READY": "○", "RUNNING": "◐", "FINISHED": "✔", "STOPPED": "■", "FAILED": "✖"}
# By kind, in the order they are shown: one of it, several of it.
KINDS = {
    "user": ("user", "users"),
    "group": ("group", "groups"),
    "membership": ("membership", "memberships"),
    "space": ("space", "spaces"),
    "page": ("page", "pages"),
    "blogpost": ("blog post", "blog posts"),
    "comment": ("comment", "comments"),
    "attachment": ("attachment", "attachments"),
    "body": ("body with its links", "bodies with their links"),
    "link": ("earlier page whose links follow", "earlier pages whose links follow"),
    "version": ("page with earlier versions", "pages with earlier versions"),
    "owner": ("owner of a page", "owners of pages"),
    "label": ("set of labels", "sets of labels"),
    "property": ("page with properties", "pages with properties"),
    "provenance": ("note of origin", "notes of origin"),
    "order": ("page with ordered children", "pages with ordered children"),
    "restriction": ("page with restrictions", "pages with restrictions"),
    "permission": ("space permission", "space permissions"),
    "watch": ("watched page or space", "watched pages and spaces"),
    "invitation": ("invitation", "invitations"),
    "task": ("task", "tasks"),  # users or groups as a whole
}


def document(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def problem(error: ClientError, as_json: bool) -> None:
    """What happened and why, what next, then the code."""
    if as_json:
        document({"problem": error.document})
        return
    err.print(Text.assemble(("✖ ", "red"), error.detail, " ", error.way_on, (f"  {error.code}", "dim")))
    for finding in error.findings[:20]:
        err.print(Text("  " + ", ".join(f"{key}: {value}" for key, value in finding.items())))
    if len(error.findings) > 20:
        err.print(f"  and {len(error.findings) - 20:,} more")


def status(plan: Mapping[str, Any]) -> Text:
    word = plan["status"]
    more = " stopping" if plan["stopping"] else " paused" if plan["paused"] else ""
    return Text(f"{MARKS[word]} {word}{more}", style=STYLES[word])


def sources(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = Table("Source", "Kind", "Spaces", "Pages", "Users", "Analysis", box=None, header_style="dim")
    for row in rows:
        analysis = row["analysis"] or {}
        numbers = analysis.get("numbers") or {}
        figures = [f"{numbers[key]:,}" if key in numbers else "" for key in ("spaces", "pages", "users")]
        table.add_row(row["name"], row["kind"], *figures, analysis.get("state", "none yet"))
    return table


def sites(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = Table("Site", "Address", "Log-in", box=None, header_style="dim")
    for row in rows:
        how = row["kind"] if row["kind"] != "oauth" else f"login of {row['account'] or 'somebody'}"
        if row["expired"]:
            how += f": over, log in again: cloudward site login {row['name']}"
        table.add_row(row["name"], row["url"], "sandbox" if row["sandbox"] and row["kind"] != "oauth" else how)
    return table


def plans(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = Table("Plan", "Status", "Progress", "Source → site", box=None, header_style="dim")
    for row in rows:
        table.add_row(row["name"], status(row), row["line"], f"{row['source']['name']} → {row['site']['name']}")
    return table


def rows(columns: Sequence[str]) -> Callable[[Sequence[Mapping[str, Any]]], Table]:
    """A table of these fields of each row."""

    def shown(found: Sequence[Mapping[str, Any]]) -> Table:
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        for column in columns:
            numeric = all(isinstance(row.get(column), int | None) for row in found)
            table.add_column(column.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
        for row in found:
            cells = (row.get(column) for column in columns)
            table.add_row(*("" if v is None else f"{v:,}" if type(v) is int else str(v) for v in cells))
        return table

    return shown


def analysis_progress(found: Mapping[str, Any]) -> str:
    """What an analysis is doing, for one line."""
    listed = found.get("spaces_listed")
    if listed is not None:
        return f"{found['spaces_analyzed']:,} of {listed:,} spaces"
    doing = found.get("progress") or {}
    of = f" of {doing['of']:,}" if doing.get("of") else ""
    return f"{doing['stage']}, {doing.get('done', 0):,}{of}" if doing.get("stage") else "beginning"


def analysis(found: Mapping[str, Any]) -> Text:
    """One line of numbers, and one of addresses where some cannot be used."""
    numbers = found["numbers"]
    line = ", ".join(
        f"{numbers[key]:,} {word[:-1] if numbers[key] == 1 else word}"
        for key, word in (
            ("spaces", "spaces"),
            ("pages", "pages"),
            ("blogposts", "blog posts"),
            ("comments", "comments"),
            ("attachments", "attachments"),
            ("users", "users"),
            ("groups", "groups"),
        )
    )
    text = Text(line)
    bad = [(numbers[f"addresses_{kind}"], kind) for kind in ("invalid", "duplicate", "unknown")]
    if any(count for count, _ in bad):
        told = ", ".join(f"{count:,} {kind}" for count, kind in bad if count)
        text.append(f"\ne-mail addresses that cannot be used as they are: {told}", style="yellow")
    if numbers["missing_files"]:
        text.append(f"\n{numbers['missing_files']:,} attachments without their file", style="yellow")
    pointed = {name: count for name, count in (found.get("guardrails") or {}).items() if name != "file_missing"}
    if pointed:
        told = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in sorted(pointed.items()))
        text.append(f"\nlook at: {told} (cloudward analysis findings)", style="yellow")
    return text


def kinds(counts: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table("", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("selected", "migrated", "skipped", "failed"):
        table.add_column(column, justify="right")
    for kind, (_, word) in KINDS.items():
        if kind in counts and counts[kind]["selected"]:
            row = counts[kind]
            skipped = Text(f"{row['skipped']:,}", style="yellow" if row["skipped"] else "dim")
            failed = Text(f"{row['failed']:,}", style="red" if row["failed"] else "dim")
            table.add_row(word, f"{row['selected']:,}", f"{row['migrated']:,}", skipped, failed)
    return table


def report(plan: Mapping[str, Any], told: Mapping[str, Any]) -> Group:
    """Status in numbers, sums by kind, causes with what to do, what verification found, links to what is on the site. ``told``: the
    plan's report."""
    parts: list[Any] = [
        Text.assemble((plan["name"], "bold"), "  ", status(plan)),
        Text(plan["line"]),
        kinds(plan["kinds"]),
    ]
    if not any(counts["selected"] for counts in plan["kinds"].values()):
        parts.append(Text("Nothing could be counted, so nothing was begun.", style="yellow"))
    elif told["conserved"]:
        parts.append(Text("✔ everything selected is accounted for, entity by entity", style="green"))
    else:
        parts.append(Text("✖ the sums do not agree: see the report's differences", style="red"))
    found = Counter(each["what"] for each in told["verification"])
    for what, (one, several) in MENDED.items():
        if count := found.pop(what, 0):
            parts.append(Text(f"verification: {count:,} {one if count == 1 else several}", style="yellow"))
    if found:
        wrong = "1 thing is not as it was" if found.total() == 1 else f"{found.total():,} things are not as they were"
        parts.append(Text(f"✖ verification: {wrong} sent: see the report's verification", style="red"))
    for (reason, outcome), causes in _by_cause(plan["reasons"]):
        said = "moved with a defect" if outcome == "migrated" else outcome
        accepted = " (accepted before the run)" if all(cause["accepted"] for cause in causes) else ""
        style = {"failed": "red", "skipped": "yellow"}.get(outcome, "default")
        counts = ", ".join(f"{cause['count']:,} {_kind(cause['kind'], cause['count'])}" for cause in causes)
        parts.append(
            Text.assemble(
                (f"{counts} {said}", style),
                f"{accepted}: {causes[0]['meaning']} {causes[0]['way_on']}",
                (f"  {reason}", "dim"),
            )
        )
    unforeseen = sorted({c["reason"] for c in plan["reasons"] if c["outcome"] == "skipped" and not c["accepted"]})
    if plan["status"] == "FAILED" and unforeseen and all(cause["outcome"] != "failed" for cause in plan["reasons"]):
        options = " ".join(f"--accept {reason}" for reason in unforeseen)
        parts.append(Text(f"Should these skips be fine another time, save the plan with {options}"))
    for task in plan["tasks"]:
        if task["kind"] == "space":
            name = f"{task['name'] or ''} ({task['key'] or task['space']})".strip()
            where = task["link"] or task["reason"] or task["state"]
            mark = {"migrated": ("✔ ", "green"), "failed": ("✖ ", "red")}.get(task["state"], ("– ", "dim"))
            parts.append(Text.assemble(mark, name, "  ", (str(where), "dim")))
    return Group(*parts)


def _by_cause(
    reasons: Iterable[Mapping[str, Any]],
) -> Iterable[tuple[tuple[str, str], list[Mapping[str, Any]]]]:
    """One line for each cause and outcome, with all kinds it met."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cause in reasons:
        found.setdefault((cause["reason"], cause["outcome"]), []).append(cause)
    return found.items()


def _kind(kind: str, count: int) -> str:
    singular, plural = KINDS[kind]
    return singular if count == 1 else plural


class Bars:
    """One bar for each plan, brought up to date from what the API says of it."""

    def __init__(self, console: Console, plans: Iterable[Mapping[str, Any]]) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[line]}", style="dim"),
            console=console,
            transient=not console.is_terminal,
            disable=not console.is_terminal,
        )
        self._console = console
        self._told: dict[str, tuple[str, int]] = {}
        self._bars: dict[str, TaskID] = {
            plan["id"]: self.progress.add_task(plan["name"], total=100, line="") for plan in plans
        }

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, plan: Mapping[str, Any]) -> None:
        self.progress.update(self._bars[plan["id"]], completed=plan["percent"], line=_short(plan))
        if self._console.is_terminal:
            return
        # Not a terminal: a line whenever the status changes, and at every quarter.
        now = (plan["status"], plan["percent"] // 25)
        if self._told.get(plan["id"]) != now:
            self._told[plan["id"]] = now
            self._console.print(f"{plan['name']}: {plan['status']}, {plan['percent']} %, {_short(plan)}")


def _short(plan: Mapping[str, Any]) -> str:
    pages, spaces = plan["kinds"].get("page"), plan["spaces"]
    done = pages["migrated"] + pages["skipped"] + pages["failed"] if pages else 0
    ended = spaces["migrated"] + spaces["failed"]
    failed = f", {spaces['failed']} failed" if spaces["failed"] else ""
    return f"{done:,} of {plan['pages_total']:,} pages, {ended:,} of {spaces['selected']:,} spaces{failed}"
