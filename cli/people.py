"""People: what names somebody is erased beside the log; the log itself holds keys only and stays as it is."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from cli.audit import noting, recording
from cli.errors import CliError
from cli.local import DATA, DataOption, JsonOption, database

people = typer.Typer(help="What is known of people.", no_args_is_help=True)

_FIND = """SELECT key FROM people.person
WHERE key = $1 OR lower(email) = lower($1) OR lower(repaired_email) = lower($1) OR lower(username) = lower($1) ORDER BY key"""


# Somebody who works with Cloudward, by the name that an identity provider or a link gave.
_ACTORS = "SELECT key FROM people.actor WHERE kind = 'person' AND (key = $1 OR lower(name) = lower($1)) ORDER BY key"

# Whatever else names the person, or could: files and commands on their way are deleted as a whole.
_ELSEWHERE = (
    "DELETE FROM people.account WHERE person = ANY($1)",
    "DELETE FROM people.standing WHERE subject = ANY($1)",
    "DELETE FROM people.user_map WHERE person = ANY($1)",
    "DELETE FROM people.membership WHERE person = ANY($1)",
    "DELETE FROM people.restriction_holder h USING people.person p WHERE p.key = ANY($1) AND h.person = p.id",
    "DELETE FROM people.related WHERE person = ANY($1)",
    "DELETE FROM people.check_finding f USING people.person p WHERE p.key = ANY($1) AND (strpos(f.found::text, p.username) > 0"
    " OR strpos(lower(f.found::text), lower(p.email)) > 0 OR strpos(f.found::text, p.display_name) > 0)",
    "DELETE FROM people.login l USING people.person p WHERE p.key = ANY($1) AND lower(l.email) = lower(p.email)",
    "DELETE FROM people.upload WHERE $1::text[] IS NOT NULL",
    "DELETE FROM people.letter WHERE $1::text[] IS NOT NULL",
    "DELETE FROM people.person WHERE key = ANY($1)",
)
_OF_ACTORS = (
    "UPDATE people.actor SET name = '(erased)' WHERE key = ANY($1)",
    "DELETE FROM people.identity WHERE actor = ANY($1)",
    "DELETE FROM people.draft WHERE actor = ANY($1)",
    "DELETE FROM vault.session WHERE actor = ANY($1)",
)


def register(app: typer.Typer) -> None:
    """Adds these verbs to the command line."""
    app.add_typer(people, name="people")


@people.command("erase")
def erase(
    who: Annotated[str, typer.Argument(help="Key, user name or e-mail address of the person.", metavar="PERSON")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without this it is only said what would be erased.")
    ] = False,
    data: DataOption = DATA,
    as_json: JsonOption = False,
) -> None:
    """Erase names, addresses and account ids of a person, in every source and among those who log in here. Cannot be undone;
    the log still verifies.

    Source, site and exported files are not touched: a new analysis would find the person there again.
    """
    keys = asyncio.run(_erase(who, yes, data))
    if as_json:
        typer.echo(json.dumps({"erased": keys if yes else [], "found": keys}))
    elif yes:
        typer.echo(f"Erased: {len(keys)} entries. The log keeps the keys {', '.join(keys)}, which now name nobody.")
    else:
        typer.echo(f"{len(keys)} entries would be erased. Say --yes to do it.")


async def _erase(who: str, yes: bool, data: Path) -> list[str]:
    from shared.events.audit.seal import note_event
    from shared.events.catalog.system import PersonErased

    async with database(data, "cw_migrate", become="cw_owner") as pool:
        keys = [str(row["key"]) for row in await pool.fetch(_FIND, who)]
        actors = [str(row["key"]) for row in await pool.fetch(_ACTORS, who)]
        if not keys and not actors:
            raise CliError("There is no such person", "", "Give a key, a user name or an e-mail address.")
        if not yes:
            return keys + actors
        async with pool.acquire() as connection, connection.transaction():
            for statement in _ELSEWHERE:
                await connection.execute(statement, keys)
            for statement in _OF_ACTORS:
                await connection.execute(statement, actors)
    async with noting(data) as (sealer, store):
        for key in keys + actors:
            await recording(lambda key=key: note_event(sealer, store, f"erased {key}", PersonErased(person=key)))  # type: ignore[misc]
    return keys + actors
