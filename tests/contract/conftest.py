"""A sandbox in a thread of its own, for clients that block."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.app import Instance, Sandbox
from tests.contract.documents import REFERENCE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.contract)


class Served:
    """A sandbox that runs in a thread; ``add`` serves one more site and answers its address."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.sandbox = Sandbox([])
        self._do(self.sandbox.start())

    def _do(self, work: object) -> object:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)  # type: ignore[arg-type]

    def add(self, name: str, kind: str = "cloud", **options: object) -> str:
        self._do(self.sandbox.add(Instance(name, kind, 0, options)))  # type: ignore[arg-type]
        return self.sandbox.url(name)

    def stop(self) -> None:
        self._do(self.sandbox.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    if not REFERENCE.is_dir():
        pytest.skip("needs the reference folder beside the checkout: the documents are not part of the project")
    running = Served()
    yield running
    running.stop()
