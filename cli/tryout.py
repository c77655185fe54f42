"""``try`` and ``demo``: a whole migration on this machine, into stand-in sites, with everything embedded.

Nothing leaves the machine: sources are exports or the sample servers, sites are the sandbox's, each empty and each
for one source. Everything goes through the dashboard's API, as it would for a real migration.
"""

import asyncio
import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import typer
from rich.text import Text

from cli import errors, render
from cli.client import ENDED, Client, ClientError
from cli.embedded.child import EmbeddedError
from cli.embedded.supervisor import Supervisor
from sandbox.sample import PLANTED_SPACE_KEY, SAMPLE_VERSIONS
from sandbox.server import TOKEN as SERVER_TOKEN
from shared.events.reasons import EXPLANATIONS, Reason
from shared.events.schema import SchemaError
from shared.events.verify import Verdict, verify_links

OK, ERROR, ENDED_BADLY = errors.OK, errors.FAILED, errors.PLAN_ENDED_BADLY
SAMPLE = "sample"
SITE_CREDENTIAL = {"email": "migrator@example.com", "token": "sandbox-token"}

# What a try-out decides about people of a source: API path below the source, and body.
REPAIRS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("address-repairs", {"duplicates": "merge", "others": "generate"}),
    ("domains", {"every": True}),
)
# Skips for these reasons are accepted beforehand: nothing in a try-out can be done about them.
ACCEPTED = (
    Reason.FILE_MISSING,
    Reason.CONTAINER_MISSING,
    Reason.NO_CLOUD_COUNTERPART,
    Reason.GENERIC_GROUP,
    Reason.DIRECTORY_GROUP,
    Reason.ACCESS_WITHHELD,
    Reason.ADDRESS_INVALID,
    Reason.ADDRESS_UNKNOWN,
    Reason.PRINCIPAL_NOT_ON_SITE,
    Reason.VIEWING_NOT_GRANTED,
)


class Interrupted(Exception):
    """Someone pressed Ctrl-C."""


@dataclass
class Trial:
    """One source on its way. ``given``: as on the command line; ``location``: what is registered."""

    number: int
    given: str
    name: str
    location: str = ""
    server: dict[str, Any] | None = None  # the sandbox's options of the source, where it is a sample
    site_options: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    site: str = ""
    analysis: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    problem: ClientError | None = None

    @property
    def site_name(self) -> str:
        return f"site-{self.number}"

    @property
    def server_name(self) -> str:
        return f"server-{self.number}"

    def document(self) -> dict[str, Any]:
        """Its part of the ``--json`` document."""
        if self.report is None:
            told = self.problem or ClientError("It did not get as far as a report.", "See above.", "unexpected_error")
            empty: dict[str, Any] = {"plan": None, "status": None, "kinds": {}, "conserved": False, "reasons": []}
            return {"source": self.given, **empty, "problem": told.document}
        names = ("plan", "status", "kinds", "conserved", "reasons", "references", "verification", "left_behind")
        return {"source": self.given, **{name: self.report[name] for name in names}}


@dataclass
class Outcome:
    """How a try-out ended. ``seconds``: from the first analysis to the last check."""

    trials: list[Trial]
    verdict: Verdict
    seconds: float

    @property
    def code(self) -> int:
        whole = all(t.report is not None and t.report["conserved"] for t in self.trials)
        if not (self.trials and whole and self.verdict.ok):
            return ERROR
        finished = all(t.report is not None and t.report["status"] == "FINISHED" for t in self.trials)
        return OK if finished else ENDED_BADLY

    def document(self) -> dict[str, Any]:
        return {
            "sources": [trial.document() for trial in self.trials],
            "events": self.verdict.checked,
            "seconds": round(self.seconds, 1),
        }


def trials_of(sources: list[str]) -> list[Trial]:
    """What is to be tried. A path where nothing is becomes a trial with a problem: the others still go on."""
    found: list[Trial] = []
    for given in sources:
        if given == SAMPLE:
            for instance, version in SAMPLE_VERSIONS.items():
                # The destination of the one instance already has a space with this key: that one space must fail.
                planted = {"key": PLANTED_SPACE_KEY, "name": "Here before", "pages": ["Do not touch"]}
                found.append(
                    Trial(
                        len(found) + 1,
                        f"{SAMPLE}:{instance}",
                        f"Wiki {instance.capitalize()}",
                        server={"version": version, "sample": instance},
                        site_options={"spaces": [planted]} if instance == "north" else {},
                    )
                )
            continue
        path = Path(given).expanduser()
        trial = Trial(len(found) + 1, given, path.name or given, location=str(path.resolve()))
        if not path.exists():
            trial.problem = ClientError(
                f"There is no file or folder {given}.",
                f"Give an export (zip file or unpacked folder), or the word “{SAMPLE}”.",
                "export_missing",
            )
        found.append(trial)
    names: set[str] = set()
    for trial in found:
        if trial.name in names:
            trial.name = f"{trial.name} ({trial.number})"
        names.add(trial.name)
    return found


def sandbox_config(trials: list[Trial]) -> dict[str, Any]:
    """An empty site for every source, and the servers of the samples."""
    instances: list[dict[str, Any]] = []
    for trial in trials:
        instances.append({"name": trial.site_name, "kind": "cloud", "port": 0, "options": trial.site_options})
        if trial.server is not None:
            instances.append({"name": trial.server_name, "kind": "server", "port": 0, "options": trial.server})
    return {"admin_port": 0, "host": "127.0.0.1", "instances": instances}


class Tryout:
    """The steps, one after the other, each for all sources at once."""

    def __init__(self, trials: list[Trial], quiet: bool, keep: bool = False) -> None:
        self.trials, self._keep = trials, keep
        self.console = render.err if quiet else render.out
        self._ending = threading.Event()

    @property
    def going(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.problem is None]

    async def run(self, data: Path) -> Outcome:
        """Starts everything in ``data``, tries, checks the log, and ends everything."""
        roots = sorted({Path(t.location).parent for t in self.trials if t.location})
        self._say("Starting the embedded servers and services …")
        async with Supervisor(data, export_roots=roots, sandbox=sandbox_config(self.going), fast=True) as house:
            urls = {instance["name"]: instance["url"] for instance in house.sandbox.get("instances", [])}
            with Client(house.dashboard_url, house.token, moved=lambda: house.dashboard_url) as client:
                self._say(f"Watch it in a browser: {client.login()}")
                started = time.monotonic()
                await self._in_thread(lambda: self._steps(client, urls))
                verdict = await _verify(house.dsn("cw_dashboard"))
                if self._keep:
                    await _keep_sites(house.sandbox["admin"]["url"], self.trials, data / "sites")
        return Outcome(self.trials, verdict, time.monotonic() - started)

    async def _in_thread(self, steps: Any) -> None:
        """The steps wait for answers; here is where Ctrl-C and the supervisor stay awake."""
        try:
            await asyncio.to_thread(steps)
        except asyncio.CancelledError:
            self._ending.set()
            raise

    def _steps(self, client: Client, urls: dict[str, str]) -> None:
        for step in (self._register, self._analyze, self._repair, self._save, self._run, self._report):
            if self.going:
                step(client, urls)

    @contextlib.contextmanager
    def _told(self, trial: Trial) -> Iterator[None]:
        """Trouble with one source is told and leaves the others alone."""
        if self._ending.is_set():
            raise Interrupted
        try:
            yield
        except ClientError as error:
            trial.problem = error
            self._problem(trial)

    def _register(self, client: Client, urls: dict[str, str]) -> None:
        for trial in self.going:
            with self._told(trial):
                source: dict[str, Any] = {"name": trial.name, "location": trial.location}
                if trial.server is not None:
                    trial.location = urls[trial.server_name]
                    source = {"name": trial.name, "location": trial.location, "credential": {"token": SERVER_TOKEN}}
                trial.source = client.post("/sources", source)["id"]
                site = {
                    "name": f"Site of {trial.name}",
                    "url": urls[trial.site_name],
                    "kind": "sandbox",
                    "sandbox": True,
                }
                trial.site = client.post("/sites", {**site, "credential": SITE_CREDENTIAL})["id"]

    def _analyze(self, client: Client, urls: dict[str, str]) -> None:
        self._title("Analysis")
        running: dict[int, str] = {}
        for trial in self.going:
            with self._told(trial):
                running[trial.number] = client.post(f"/sources/{trial.source}/analyses")["id"]
        for trial in self.going:
            with self._told(trial):
                trial.analysis = client.analyzed(running[trial.number], each=lambda _: self._check())
                if trial.analysis["state"] == "failed":
                    raise ClientError(
                        trial.analysis["sentence"], f"Nothing of {trial.given} moved.", trial.analysis["code"]
                    )
                numbers = Text("\n    ").join(render.analysis(trial.analysis).split("\n"))
                self._say(Text.assemble("✔ ", (trial.name, "bold"), "  ", numbers))

    def _repair(self, client: Client, urls: dict[str, str]) -> None:
        self._title("E-mail addresses")
        for trial in self.going:
            with self._told(trial):
                made: dict[str, int] = {}
                for path, decided in REPAIRS:
                    made |= client.post(f"/sources/{trial.source}/{path}", decided)["result"]
                self._say(
                    Text.assemble(
                        "✔ ",
                        (trial.name, "bold"),
                        f"  decided: {made.get('merged', 0):,} duplicates merged into one account,"
                        f" {made.get('generated', 0):,} addresses generated, {made.get('former', 0):,} Former users,"
                        f" {made.get('trusted', 0):,} domains trusted",
                    )
                )

    def _save(self, client: Client, urls: dict[str, str]) -> None:
        self._title("Plans")
        self._say("Accepted beforehand, if it comes to that:")
        for reason in ACCEPTED:
            self._say(Text.assemble("  ", (reason.value, "dim"), f"  {EXPLANATIONS[reason].meaning}"))
        for trial in self.going:
            with self._told(trial):
                body = {
                    "name": f"{trial.name} to its site",
                    "source": trial.source,
                    "site": trial.site,
                    "users": "all",
                    "groups": True,
                    "spaces": "all",
                    "accepted": [reason.value for reason in ACCEPTED],
                }
                trial.plan = client.get(f"/plans/{client.post('/plans', body)['id']}")
                assert trial.plan is not None
                self._say(Text.assemble("✔ ", (trial.plan["name"], "bold"), f"  {trial.plan['line']}"))

    def _run(self, client: Client, urls: dict[str, str]) -> None:
        self._title("Run")
        for trial in self.going:
            with self._told(trial):
                assert trial.plan is not None
                client.post(f"/plans/{trial.plan['id']}/run", {"consent": False})
        watched = [trial for trial in self.going if trial.plan is not None]
        with render.Bars(self.console, [trial.plan for trial in watched if trial.plan is not None]) as bars:
            while watched:
                for trial in list(watched):
                    with self._told(trial):
                        assert trial.plan is not None
                        trial.plan = client.get(f"/plans/{trial.plan['id']}")
                        assert trial.plan is not None
                        bars.update(trial.plan)
                    if trial.problem is not None or (trial.plan and trial.plan["status"] in ENDED):
                        watched.remove(trial)
                    elif trial.plan and trial.plan["stuck"]:
                        self._stuck(trial)
                        watched.remove(trial)
                time.sleep(0.3)

    def _stuck(self, trial: Trial) -> None:
        assert trial.plan is not None
        trial.problem = ClientError(
            f"The plan stands still: its event {trial.plan['stuck']} cannot be decided ({trial.plan['stuck_code']}).",
            "Keep the data with --keep, and report it.",
            "plan_stuck",
        )
        self._problem(trial)

    def _report(self, client: Client, urls: dict[str, str]) -> None:
        self._title("Report")
        for trial in self.going:
            with self._told(trial):
                assert trial.plan is not None
                trial.report = client.get(f"/plans/{trial.plan['id']}/report")
                assert trial.report is not None
                self._say(render.report(trial.plan, trial.report))
                self._say("")

    def _check(self) -> None:
        if self._ending.is_set():
            raise Interrupted

    def _title(self, text: str) -> None:
        self._say(Text(f"\n{text}", style="bold underline"))

    def _say(self, what: Any) -> None:
        self.console.print(what, soft_wrap=isinstance(what, str))

    def _problem(self, trial: Trial) -> None:
        assert trial.problem is not None
        self._say(
            Text.assemble(
                ("✖ ", "red"),
                (trial.name, "bold"),
                f"  {trial.problem.detail} {trial.problem.way_on}",
                (f"  {trial.problem.code}", "dim"),
            )
        )

    def problems_first(self) -> None:
        """Tells of sources that cannot even be begun with."""
        for trial in self.trials:
            if trial.problem is not None:
                self._problem(trial)


async def _keep_sites(admin: str, trials: list[Trial], folder: Path) -> None:
    """Writes each stand-in site as one JSON document; the sites themselves end with the sandbox."""
    folder.mkdir(exist_ok=True)
    async with httpx.AsyncClient(base_url=admin, timeout=120, trust_env=False) as http:
        for trial in trials:
            if not trial.site:
                continue
            async with http.stream("GET", f"/sites/{trial.site_name}/canonical") as answer:
                answer.raise_for_status()
                with (folder / f"{trial.site_name}.json").open("wb") as file:
                    async for part in answer.aiter_bytes():
                        file.write(part)


async def _verify(dsn: str) -> Verdict:
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=1)
    try:
        return await verify_links(pool)
    finally:
        await pool.close()


def judge_demo(outcome: Outcome) -> list[tuple[bool, str]]:
    """The announced ending, claim by claim. All true: the demo has shown what it is to show."""
    failed = [t for t in outcome.trials if t.report and t.report["status"] == "FAILED"]
    others = [t for t in outcome.trials if t not in failed]
    tasks = [task for t in failed if t.plan for task in t.plan["tasks"] if task["kind"] == "space"]
    bad = [task for task in tasks if task["state"] != "migrated"]
    conflicts = [reason for t in failed if t.report for reason in t.report["reasons"] if reason["outcome"] == "failed"]
    planted = len(bad) == 1 and bad[0]["key"] == PLANTED_SPACE_KEY and bad[0]["reason"] == Reason.SPACE_KEY_CONFLICT
    only = bool(conflicts) and {(c["kind"], c["reason"]) for c in conflicts} == {("space", Reason.SPACE_KEY_CONFLICT)}
    return [
        (
            len(failed) == 1 and planted and only,
            f"One plan FAILED, by the one planted conflict: its site already had a space {PLANTED_SPACE_KEY}.",
        ),
        (
            len(tasks) > 1 and all(task["link"] for task in tasks if task not in bad),
            "The other spaces of that plan are on the site all the same: a space fails alone.",
        ),
        (
            bool(others) and all(t.report is not None and t.report["status"] == "FINISHED" for t in others),
            "The other plan FINISHED.",
        ),
        (
            all(t.report is not None and t.report["conserved"] for t in outcome.trials),
            "Every entity selected is accounted for: migrated, skipped with a reason, or failed with a reason.",
        ),
        (outcome.verdict.ok, f"The log verifies: {outcome.verdict.checked:,} events, none changed, none missing."),
    ]


def perform(sources: list[str], *, json: bool, keep: Path | None) -> Outcome:
    """Runs a try-out from beginning to end. Raises EmbeddedError, SchemaError, Interrupted."""
    tryout = Tryout(trials_of(sources), quiet=json, keep=keep is not None)
    tryout.problems_first()
    if not tryout.going:
        return Outcome(tryout.trials, Verdict("", 0, b""), 0.0)
    folder = keep or Path(tempfile.mkdtemp(prefix="cloudward-"))
    try:
        return asyncio.run(tryout.run(folder))
    except KeyboardInterrupt:
        raise Interrupted from None
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def _guarded(sources: list[str], json: bool, keep: Path | None) -> Outcome:
    try:
        return perform(sources, json=json, keep=keep)
    except EmbeddedError as error:
        render.problem(ClientError(f"{error.what}: {error.why}.", error.way_on, "embedded"), json)
    except SchemaError as error:
        render.problem(ClientError(str(error), "Take an empty folder for --keep.", "schema"), json)
    except Interrupted:
        render.err.print("Stopped. Nothing is left running.")
        raise typer.Exit(errors.INTERRUPTED) from None
    raise typer.Exit(ERROR)


def run_sources(sources: list[str], json: bool, keep: Path | None) -> None:
    """``cloudward try``. Ends with ``typer.Exit``."""
    outcome = _guarded(sources, json, keep)
    if json:
        render.document(outcome.document())
    else:
        _checked(outcome)
    raise typer.Exit(outcome.code)


def run_demo(keep: Path | None) -> None:
    """``cloudward demo``. Raises ``typer.Exit`` where the announced ending is not there."""
    render.out.print(
        "Two Confluence servers move to two Confluence Cloud sites. All four are stand-ins on this machine.\n"
        f"One site already has a space with the key {PLANTED_SPACE_KEY}: that one space has to fail, and nothing else.\n"
    )
    outcome = _guarded([SAMPLE], False, keep)
    _checked(outcome)
    render.out.print(Text("\nWhat was to be seen", style="bold underline"))
    claims = judge_demo(outcome)
    for holds, claim in claims:
        render.out.print(Text.assemble(("✔ ", "green") if holds else ("✖ ", "red"), claim))
    if not all(holds for holds, _ in claims):
        render.err.print("The announced ending is not there.")
        raise typer.Exit(ERROR)
    render.out.print("\nNext: cloudward try YOUR-EXPORT.zip")


def _checked(outcome: Outcome) -> None:
    verdict = outcome.verdict
    if verdict.ok:
        render.out.print(Text.assemble(("✔ ", "green"), f"log: {verdict.checked:,} events, every link verified"))
    else:
        render.out.print(Text.assemble(("✖ ", "red"), f"log: {verdict.message}"))
    render.out.print(f"{verdict.checked:,} events, {outcome.seconds:.1f} seconds")
