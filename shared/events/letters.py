"""Commands and their answers lie in ``people.letter`` while NATS carries their ids: both may hold names and addresses.

The asker posts a command, asks by its letter's id, and takes the answer away with the row.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.events.commands import Command, Problem, Reply
from shared.events.types import Id, new_id

KEPT = "1 hour"  # what nobody came back for


class Letter(BaseModel):
    """The message on ``cmd.<owner>.<verb>``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    letter: Id


class Answered(BaseModel):
    """The message that answers it: the reply lies with the letter; or, where that could not be, a problem without names."""

    problem: Problem | None = None


class Letters:
    """``pool``: of the asker's role to post and take, of the owner's to open and answer. All raise what the database raises."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def post(self, command: Command) -> str:
        """Lays the command down. Returns the letter's id: another one each time, also for the same command."""
        id = new_id()
        await self._pool.execute(f"DELETE FROM people.letter WHERE recorded_at < clock_timestamp() - interval '{KEPT}'")
        await self._pool.execute(
            "INSERT INTO people.letter (id, command) VALUES ($1, $2)", id, command.model_dump_json()
        )
        return id

    async def open(self, letter: str) -> str | None:
        """The command's JSON; None where there is no such letter."""
        found = await self._pool.fetchval("SELECT command FROM people.letter WHERE id = $1", letter)
        return None if found is None else str(found)

    async def answer(self, letter: str, reply: Reply) -> None:
        await self._pool.execute("UPDATE people.letter SET reply = $2 WHERE id = $1", letter, reply.model_dump_json())

    async def take(self, letter: str) -> str | None:
        """The reply's JSON; None where there is none. The letter is gone then."""
        found = await self._pool.fetchval("DELETE FROM people.letter WHERE id = $1 RETURNING reply", letter)
        return None if found is None else str(found)
