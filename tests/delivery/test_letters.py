"""Commands and their answers travel beside NATS: whoever listens there reads ids."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.dashboard.adapters.commands import NatsCommands
from services.dashboard.domain.problems import ProblemError
from shared.events.answering import answer
from shared.events.commands import Command, CopyPlan, Reply
from shared.events.contract import Actor
from shared.events.database import open_pool
from shared.events.deciding import refused
from shared.events.letters import Letters
from shared.events.types import new_id
from shared.ops import bus
from shared.ops.settings import Settings
from tests.servers import Database, NatsServer

NAME = "Zaunkoenig's move"


def copy() -> CopyPlan:
    actor = Actor(kind="token", key=new_id(), authentication="token")
    return CopyPlan(command_id=new_id(), actor=actor, correlation=new_id(), plan=new_id(), name=NAME)


class Post:
    """A dashboard's side and a planner's side on real servers, and all that went over NATS."""

    def __init__(self, commands: NatsCommands, broker: NatsBroker, letters: Letters, tap: Client) -> None:
        self.commands, self.broker, self.letters, self.tap = commands, broker, letters, tap
        self.heard: list[bytes] = []
        self.asked: list[Command] = []

    async def owner(self, reply: Reply | Exception) -> None:
        async def handle(command: Command) -> Reply:
            self.asked.append(command)
            if isinstance(reply, Exception):
                raise reply
            return reply

        answer(self.broker, "planner", CopyPlan, handle, self.letters)
        await self.broker.start()


@pytest_asyncio.fixture(loop_scope="session")
async def post(database: Database, nats: NatsServer) -> AsyncIterator[Post]:
    tap: Client = await nats.connect()
    asking = await open_pool(database.settings("dashboard"), application="test")
    deciding = await open_pool(database.settings("planner"), application="test")
    client = await bus.connect(Settings(**nats.settings("dashboard")), "dashboard")
    broker = bus.broker(Settings(**nats.settings("planner")), "planner")
    post = Post(NatsCommands(client, Letters(asking), patience=0.5, timeout=1), broker, Letters(deciding), tap)

    async def hear(message: Msg) -> None:
        post.heard.append(f"{message.subject} {message.headers} ".encode() + message.data)

    await tap.subscribe(">", cb=hear)
    await tap.flush()
    yield post
    await broker.stop()
    for connection in (client, tap):
        await connection.close()
    for pool in (asking, deciding):
        await pool.close()


async def left(database: Database) -> int:
    connection = await database.connect()
    found = int(await connection.fetchval("SELECT count(*) FROM people.letter"))
    await connection.close()
    return found


async def test_the_owner_reads_the_command_and_the_asker_the_reply_and_nats_neither(
    post: Post, database: Database
) -> None:
    await post.owner(Reply(id="1" * 32, result={"title": NAME}))
    command = copy()
    reply = await post.commands.send(command)
    assert post.asked == [command]
    assert reply.result == {"title": NAME}
    assert await left(database) == 0
    over_nats = [each for each in post.heard if each.startswith((b"cmd.", b"_INBOX_dashboard"))]
    assert len(over_nats) == 2
    assert not any(b"Zaunkoenig" in each or command.command_id.encode() in each for each in post.heard)


async def test_a_refusal_with_names_comes_by_letter_too(post: Post) -> None:
    await post.owner(refused("name_taken", f"There is a plan called {NAME}.", "Choose another."))
    with pytest.raises(ProblemError, match="Zaunkoenig"):
        await post.commands.send(copy())
    assert not any(b"Zaunkoenig" in each for each in post.heard)


async def test_a_command_of_which_the_owner_fails_is_answered_without_its_names(post: Post) -> None:
    await post.owner(ValueError(NAME))
    with pytest.raises(ProblemError) as failed:
        await post.commands.send(copy())
    assert (failed.value.code, failed.value.status) == ("unexpected_error", 500)
    assert "Zaunkoenig" not in f"{failed.value.document}"


async def test_what_an_owner_got_who_died_unnoticed_is_sent_again_with_the_same_id(
    post: Post, database: Database, nats: NatsServer
) -> None:
    """NATS goes on giving messages to a connection until it notices that nobody is behind it."""
    got: list[bytes] = []

    async def swallow(message: Msg) -> None:
        got.append(message.data)
        await post.owner(Reply(id="1" * 32))
        await dead.close()

    dead: Client = await nats.connect()
    await dead.subscribe(CopyPlan.SUBJECT, queue="planner", cb=swallow)
    await dead.flush()
    await post.tap.close()
    command = copy()
    assert (await post.commands.send(command)).id == "1" * 32
    assert len(got) == 1
    assert post.asked == [command]
    assert await left(database) == 0


async def test_what_is_never_answered_may_have_taken_effect_and_says_so(post: Post, nats: NatsServer) -> None:
    dead: Client = await nats.connect()
    got: list[bytes] = []

    async def swallow(message: Msg) -> None:
        got.append(message.data)

    await dead.subscribe(CopyPlan.SUBJECT, queue="planner", cb=swallow)
    await dead.flush()
    with pytest.raises(ProblemError) as failed:
        await post.commands.send(copy())
    await dead.close()
    assert (failed.value.code, failed.value.status) == ("outcome_unknown", 504)
    assert len(got) == 3
    assert len(set(got)) == 1


async def test_without_an_owner_nothing_is_left_lying(post: Post, database: Database) -> None:
    await post.tap.close()  # whoever listens could be the owner, for all that NATS knows
    with pytest.raises(ProblemError) as failed:
        await post.commands.send(copy())
    assert failed.value.code == "service_unavailable"
    assert await left(database) == 0


async def test_what_nobody_came_back_for_is_deleted_after_an_hour(post: Post, database: Database) -> None:
    await post.owner(Reply(id="1" * 32))
    connection = await database.connect()
    await connection.execute(
        "INSERT INTO people.letter VALUES ('a', 'old', NULL, now() - interval '61 minutes'), ('b', 'new', NULL, now())"
    )
    await connection.close()
    await post.commands.send(copy())
    assert await left(database) == 1
