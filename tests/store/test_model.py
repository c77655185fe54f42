"""The store behaves like a list: any sequence of commands, alone or in batches, against a model of 30 lines."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from shared.events.store import Append, EventStore, Guard, Result
from shared.events.verify import verify_links
from tests.store.commands import command
from tests.store.logs import Log

STREAMS = [f"plan-{n:032x}" for n in range(4)]
streams = st.sampled_from(STREAMS)
versions = st.integers(-1, 6)
# Ids from so small a stock that commands are often repeated, and ids reused.
ids = st.lists(st.integers(1, 60).map(lambda n: f"{n:032x}"), min_size=1, max_size=3, unique=True)


class Model:
    """A log as a list of (event id, stream)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def version(self, stream: str) -> int:
        return sum(s == stream for _, s in self.events) - 1

    def append(self, sent: Append) -> Result:
        named = [id_ for id_, _ in sent.events]
        known = [id_ for id_, _ in self.events]
        if named[0] in known:
            first = known.index(named[0])
            own = [(p, id_) for p, (id_, s) in enumerate(self.events, 1) if s == sent.stream]
            start = next((n for n, (p, _) in enumerate(own) if p == first + 1), None)
            if start is None or [id_ for _, id_ in own[start : start + len(named)]] != named:
                return Result("mismatch", None, None)
            last = start + len(named) - 1
            return Result("duplicate", own[last][0], last)
        for stream, version in [(sent.stream, sent.expected), *((g.stream, g.version) for g in sent.guards)]:
            if self.version(stream) != version:
                return Result("conflict", None, self.version(stream))
        if set(named) & set(known):
            return Result("mismatch", None, None)
        self.events += [(id_, sent.stream) for id_ in named]
        return Result("appended", len(self.events), self.version(sent.stream))


@st.composite
def appends(draw: st.DrawFn) -> tuple[str, int | None, list[str], list[tuple[str, int | None]]]:
    """Version None: the right one, when the command is made."""
    right = st.one_of(st.none(), st.none(), versions)
    return (
        draw(streams),
        draw(right),
        draw(ids),
        draw(st.lists(st.tuples(streams, right), max_size=2)),
    )


class StoreIsAList(RuleBasedStateMachine):
    """The database is made anew by truncating it, as superuser, before every sequence."""

    run: Any
    store: EventStore
    log: Log

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.known: list[Append] = []
        self.run(empty(self.log))

    def make(self, drawn: tuple[str, int | None, list[str], list[tuple[str, int | None]]]) -> Append:
        stream, expected, names, guards = drawn
        sent = command(
            stream,
            self.model.version(stream) if expected is None else expected,
            ids=names,
            guards=tuple(Guard(s, self.model.version(s) if v is None else v) for s, v in guards),
        )
        self.known.append(sent)
        return sent

    @rule(drawn=appends())
    def append(self, drawn: Any) -> None:
        sent = self.make(drawn)
        assert agree(self.run(self.store.append(sent)), self.model.append(sent))

    @rule(drawn=st.lists(appends(), min_size=2, max_size=6))
    def append_at_once(self, drawn: list[Any]) -> None:
        sent = [self.make(d) for d in drawn]
        answers = self.run(gather(self.store, sent))
        for command_, answer in zip(sent, answers, strict=True):
            assert agree(answer, self.model.append(command_)), sent

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.known:
            sent = data.draw(st.sampled_from(self.known))
            assert agree(self.run(self.store.append(sent)), self.model.append(sent))

    @invariant()
    def reads_are_the_list(self) -> None:
        events = self.run(self.store.read_log(0))
        assert [(e.event_id, e.stream) for e in events] == self.model.events
        assert [e.position for e in events] == list(range(1, len(events) + 1))
        for stream in STREAMS:
            own = self.run(self.store.read_stream(stream))
            assert [e.version for e in own] == list(range(self.model.version(stream) + 1))
            assert own == [e for e in events if e.stream == stream]

    def teardown(self) -> None:
        verdict = self.run(verify_links(self.store._pool))
        assert (verdict.ok, verdict.checked) == (True, len(self.model.events))


def agree(answer: Result, expected: Result) -> bool:
    if expected.outcome == "mismatch":  # where the id is recorded is told or not, depending on which id it is
        return answer.outcome == "mismatch"
    return answer == expected


async def gather(store: EventStore, sent: list[Append]) -> list[Result]:
    return await asyncio.gather(*(store.append(c) for c in sent))


async def empty(log: Log) -> None:
    admin = await log.database.connect()
    await admin.execute(
        """BEGIN; ALTER TABLE log.events DISABLE TRIGGER ALL; TRUNCATE log.events;
           ALTER TABLE log.events ENABLE ALWAYS TRIGGER append_only;
           ALTER TABLE log.events ENABLE ALWAYS TRIGGER append_only_truncate;
           UPDATE log.log_head SET position = 0, link = sha256(convert_to('cloudward log ' || replace(log_id::text, '-', ''), 'UTF8'));
           COMMIT"""
    )
    await admin.close()


async def test_the_store_behaves_like_a_list(log: Log, store: EventStore) -> None:
    loop = asyncio.get_running_loop()

    class Machine(StoreIsAList):
        pass

    Machine.store, Machine.log = store, log
    Machine.run = staticmethod(lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(30))
    # In a thread, as hypothesis is synchronous; the store stays in this loop.
    await asyncio.to_thread(
        run_state_machine_as_test,
        Machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
