"""The verbs that go on from a plan which has ended: ``plan continue``, ``retry-failed``, ``delta``, ``undo``, ``invite``."""

from typing import Annotated, Any

import typer

from cli import errors, render
from cli.client import Client
from cli.remote import Data, Json, Plan, TokenFile, Url, expected, plan_app, recorded, watched

Name = Annotated[str | None, typer.Option("--name", help="Name of the new plan. Default: from the old one's.")]
Run = Annotated[bool, typer.Option("--run/--save", help="Run the new plan at once, or only save it.")]
Watch = Annotated[bool, typer.Option("--watch", help="Run it and stay until it has ended.")]
Consent = Annotated[bool, typer.Option("--consent", help="Agree that data of the source are copied to the site.")]

# Verb to the word behind the old name, and what the verb does.
VERBS = {
    "continue": (
        "continued",
        "Continue a STOPPED or FAILED plan in a new one: what is not on the site yet, nothing twice.",
    ),
    "retry-failed": ("retried", "Try again, in a new plan, only what failed in this one or was left."),
    "delta": (
        "changes",
        "Bring, in a new plan, what changed at the source since. Newer work on the site is never overwritten.",
    ),
}


def register(app: typer.Typer) -> None:
    """The verbs stand under ``plan``, which ``cli.remote`` adds."""


def _name(client: Client, old: str, word: str) -> str:
    """The old name with the word behind it, numbered where that is taken."""
    taken = {plan["name"] for plan in client.get("/plans", archived=True)}
    wanted = f"{old} ({word})"[:200]
    number = 2
    while wanted in taken:
        wanted, number = f"{old} ({word} {number})"[:200], number + 1
    return wanted


def _go_on(
    client: Client, found: dict[str, Any], name: str, *, run: bool, watch: bool, consent: bool, json: bool
) -> None:
    if run or watch:
        answer = client.post(f"/plans/{found['id']}/run", {"consent": consent})
        if watch:
            watched(client, found["id"], json)
            return
        recorded(answer, json, f"Plan “{name}” runs. Watch it: cloudward plan watch {name!r}")
    else:
        recorded(found, json, f"Plan “{name}” is saved. Run it: cloudward plan run {name!r}")


def _verb(verb: str, word: str, help: str) -> None:
    @plan_app.command(verb, help=help)
    @expected
    def command(
        plan: Plan,
        name: Name = None,
        run: Run = False,
        watch: Watch = False,
        consent: Consent = False,
        url: Url = None,
        token_file: TokenFile = None,
        data: Data = None,
        json: Json = False,
    ) -> None:
        with Client.discover(url, token_file, data) as client:
            found = client.find("plan", plan)
            called = name or _name(client, found["name"], word)
            answer = client.post(f"/plans/{found['id']}/{verb}", {"name": called})
            _go_on(client, answer, called, run=run, watch=watch, consent=consent, json=json)


for _each, (_word, _help) in VERBS.items():
    _verb(_each, _word, _help)


@plan_app.command("undo")
@expected
def undo(
    plan: Plan,
    name: Name = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what would be removed, at most.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    watch: Watch = False,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Remove from the site what a plan made and nobody has touched since. What somebody changed stays and is listed.

    It says first what would be removed and asks. The undo is a plan of its own, which can be watched and stopped.
    """
    with Client.discover(url, token_file, data) as client:
        found = client.find("plan", plan)
        told = client.get(f"/plans/{found['id']}/undo")
        if preview and json:
            render.document(told)
            return
        if not json:
            render.out.print(f"“{found['name']}” made on the site: {_counted(told['made'])}.")
            if told["merged"]:
                render.out.print(f"Of what was there before only what it added is removed: {_counted(told['merged'])}.")
            if told["stay"]:
                render.out.print(f"{told['stay']:,} accounts stay; access that it gave is taken away.")
            render.out.print("What somebody has changed since stays, and is listed.")
        if preview:
            return
        if not yes and (json or not typer.confirm("Remove it?")):
            render.err.print("Nothing was removed. Add --yes to do it without being asked.")
            raise typer.Exit(errors.FAILED)
        called = name or _name(client, found["name"], "undone")
        answer = client.post(f"/plans/{found['id']}/undo", {"name": called})
        _go_on(client, answer, called, run=True, watch=watch, consent=True, json=json)


@plan_app.command("invite")
@expected
def invite(
    plan: Plan,
    name: Name = None,
    reminder: Annotated[
        bool, typer.Option("--reminder", help="Those who were invited before, instead of those who were not.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many people would get a mail.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    watch: Watch = False,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Have the site's organization mail the people to whom a plan gave access. Each is asked for once; it says how many and asks.

    The invitation is a plan of its own, which can be watched and stopped. Who was invited: cloudward plan invitations.
    """
    with Client.discover(url, token_file, data) as client:
        found = client.find("plan", plan)
        told = client.get(f"/plans/{found['id']}/invitations", limit=0)
        count = told["to_remind" if reminder else "to_invite"]
        if dry_run and json:
            render.document(told)
            return
        if not json:
            before = "were invited before" if reminder else "were not invited yet"
            people = "1 person" if count == 1 else f"{count:,} people"
            render.out.print(f"{people} to whom “{found['name']}” gave access, who {before}.")
        if dry_run:
            return
        if count and not yes and (json or not typer.confirm(f"Send {count:,} mail{'' if count == 1 else 's'}?")):
            render.err.print("Nobody was invited. Add --yes to do it without being asked.")
            raise typer.Exit(errors.FAILED)
        called = name or _name(client, found["name"], "reminded" if reminder else "invited")
        body = {"name": called, "reminder": reminder}
        answer = client.post(f"/plans/{found['id']}/invitations", body)
        _go_on(client, answer, called, run=True, watch=watch, consent=True, json=json)


def _counted(numbers: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {kind}{'' if n == 1 else 's'}" for kind, n in numbers.items()) or "nothing"
