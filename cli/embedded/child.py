"""One child process that never outlives its parent."""

import asyncio
import ctypes
import os
import pwd
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522

# Exit code of a child whose account could not be given the right to enter closed folders.
CANNOT_ENTER = 126

_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True) if _LINUX else None


class EmbeddedError(Exception):
    """Something embedded cannot run. ``what`` happened, ``why``, and the next step for a person."""

    def __init__(self, what: str, why: str, way_on: str) -> None:
        super().__init__(f"{what}: {why}. {way_on}")
        self.what = what
        self.why = why
        self.way_on = way_on


@dataclass(frozen=True)
class RunAs:
    """The account a server runs under. ``search`` lets it enter folders that are closed to it, and nothing more."""

    uid: int
    gid: int
    search: bool = False


def unprivileged() -> RunAs | None:
    """The account for a server that refuses to run as root, or None where this process is not root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return RunAs(65534, 65534)
    return RunAs(entry.pw_uid, entry.pw_gid)


def can_enter(path: Path, account: RunAs) -> bool:
    """Whether ``account`` passes every folder on the way to ``path``, by the permission bits alone."""
    for folder in [*path.resolve().parents]:
        stat = folder.stat()
        bit = 0o100 if stat.st_uid == account.uid else 0o010 if stat.st_gid == account.gid else 0o001
        if not stat.st_mode & bit:
            return False
    return True


def _become(account: RunAs) -> None:
    """Changes the account of this (just forked) process for good.

    With ``search`` the one capability to read and enter closed folders is kept over the change: a data folder or an
    installation below /root is then usable without opening /root to everybody.
    """
    if account.search and _libc is not None:
        # Keeps capabilities over setuid, and makes access(2), which initdb asks, heed them.
        _libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(account.gid)
    os.setuid(account.uid)
    if account.search and _libc is not None:
        mask = 1 << _CAP_DAC_READ_SEARCH
        header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
        sets = struct.pack("IIIIII", mask, mask, mask, 0, 0, 0)
        if _libc.capset(header, sets) != 0 or (
            _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_READ_SEARCH, 0, 0) != 0
        ):
            os._exit(CANNOT_ENTER)


def _before_exec(death_signal: signal.Signals, account: RunAs | None, parent: int) -> Callable[[], None]:
    def prepare() -> None:
        if account is not None:
            _become(account)
        if _libc is not None:
            # After the change of account, which clears it.
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(125)

    return prepare


class Child:
    """A running child in a session of its own, so that the terminal's Ctrl-C reaches the parent only."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path | None) -> None:
        self.name = name
        self.popen = popen
        self.log = log
        self.started = time.monotonic()

    @classmethod
    def start(
        cls,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        log: Path | None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        account: RunAs | None = None,
        death_signal: signal.Signals = signal.SIGTERM,
        pass_fds: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> "Child":
        """Starts ``argv``. ``death_signal`` is what the kernel sends it when this process dies, however it dies.

        The signal is tied to the *thread* that starts the child: call this from one that lives as long as the process.
        """
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if log is not None else subprocess.DEVNULL
        try:
            popen = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=target if stdout is None else stdout,
                stderr=target,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                start_new_session=True,
                pass_fds=pass_fds,
                preexec_fn=_before_exec(death_signal, account, os.getpid()),  # noqa: PLW1509
            )
        finally:
            if log is not None:
                os.close(target)
        return cls(name, popen, log)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def returncode(self) -> int | None:
        return self.popen.poll()

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        if self.running:
            self.popen.send_signal(number)

    async def wait(self, timeout: float | None = None) -> int | None:
        """Its exit code, or None when it still runs after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.005
        while (code := self.popen.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                return None
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        return code

    async def end(self, number: signal.Signals, grace: float) -> int:
        """Asks it to end, waits ``grace`` seconds, then kills it."""
        self.send(number)
        self.send(signal.SIGCONT)
        code = await self.wait(grace)
        if code is None:
            self.send(signal.SIGKILL)
            code = await self.wait()
        return -signal.SIGKILL if code is None else code

    def descendants(self) -> list[int]:
        """Process ids of its children and theirs (Linux only)."""
        found: list[int] = []
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            try:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    children = [int(word) for word in (task / "children").read_text().split()]
                    found += children
                    waiting += children
            except OSError:
                continue
        return found

    def tail(self, lines: int = 5) -> str:
        """The end of its log, for an error message."""
        if self.log is None or not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def write_secret(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)
    beside.replace(path)


def secret_file(path: Path, make: Callable[[], str]) -> str:
    """The secret in ``path``; made and kept there at the first call."""
    if not path.exists():
        write_secret(path, make())
    return path.read_text().strip()
