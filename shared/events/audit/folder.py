"""The folder outside the database where the sealer leaves its checkpoints: write-once storage, another machine, a witness.

``<size, 16 digits>.checkpoint``: one signed note each. ``keys``: one public key a line, those that have ever signed here.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from shared.events.audit.note import BadNote, PublicKey

_SUFFIX = ".checkpoint"


class CheckpointFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, size: int) -> Path:
        return self.path / f"{size:016d}{_SUFFIX}"

    def sizes(self) -> list[int]:
        """Of all checkpoints in it, rising."""
        if not self.path.is_dir():
            return []
        names = (file.name.removesuffix(_SUFFIX) for file in self.path.glob(f"*{_SUFFIX}"))
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def note(self, size: int) -> str:
        return self.file(size).read_text(encoding="utf-8")

    def notes(self) -> Iterator[tuple[int, str]]:
        for size in self.sizes():
            yield size, self.note(size)

    def keys(self) -> list[PublicKey]:
        """The public keys that are kept beside the checkpoints: for the sealer itself. Who checks has them from
        elsewhere."""
        try:
            lines = (self.path / "keys").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [PublicKey.parse(line) for line in lines if line.strip()]

    def introduce(self, keys: list[PublicKey]) -> None:
        """Adds keys to the file of keys. Raises BadNote if the folder is another log's."""
        known = self.keys()
        others = {key.name for key in known} - {key.name for key in keys}
        if others:
            raise BadNote(f"{self.path} holds checkpoints of another log ({', '.join(sorted(others))}).")
        added = [key for key in keys if key not in known]
        if added:
            _write(self.path / "keys", "".join(f"{key}\n" for key in [*known, *added]))

    def set_aside(self, beyond: int) -> list[int]:
        """Moves checkpoints of more events than ``beyond`` into a folder inside this one, and returns their sizes.

        For a log that was restored from a backup: what it has lost is witnessed there.
        """
        lost = [size for size in self.sizes() if size > beyond]
        if lost:
            aside = self.path / f"before-restore-at-{beyond}"
            aside.mkdir(exist_ok=True)
            for size in lost:
                self.file(size).replace(aside / self.file(size).name)
        return lost

    def write(self, size: int, note: str) -> None:
        """On disk when this returns. One of the same size that says something else is never overwritten: BadNote."""
        file = self.file(size)
        if file.exists():
            if file.read_text(encoding="utf-8") != note:
                raise BadNote(f"{file} is there already and says something else.")
            return
        _write(file, note)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
