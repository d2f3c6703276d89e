"""The files of a store: each is written beside and renamed, and read after a check of its sha256.

Which folder holds what is told in ``store``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
FOLDERS = ("states", "rungs", "blobs", "work", "locks", "pins", "damaged")


class Damaged(ValueError):
    """A file of the store that is not what was written."""


class StoreFiles:
    """Manifests, which are JSON with a checksum, and blobs, whose names are their sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)

    def keeper(self, blobs: list[str]) -> Callable[[str, Callable[[Path], None]], str]:
        """What writes a blob, unless an equal one lies there, and adds its name to ``blobs``."""

        def keep(suffix: str, write: Callable[[Path], None]) -> str:
            beside = self.folder / "blobs" / f".{os.getpid()}-{time.monotonic_ns()}{suffix}"
            try:
                write(beside)
                name = f"{_sha256(beside)}{suffix}"
                if self._is_right(name, beside.stat().st_size):
                    os.utime(self.blob(name))
                else:
                    _sync(beside)
                    os.replace(beside, self.blob(name))
            finally:
                beside.unlink(missing_ok=True)
            blobs.append(name)
            return name

        return keep

    def _is_right(self, name: str, size: int) -> bool:
        """Whether a blob is there and what its name says; it may have been damaged since."""
        path = self.blob(name)
        return stat(path)[0] == size and _sha256(path) == path.stem

    def opened(self, name: str) -> Path:
        """The path of a blob that was found to be right. Raises Damaged; FileNotFoundError."""
        path = self.blob(name)
        if _sha256(path) != path.stem:
            self.set_aside(path)
            raise Damaged(f"{path} is not what was written.")
        with contextlib.suppress(OSError):
            os.utime(path)
        return path

    def blob(self, name: str) -> Path:
        return self.folder / "blobs" / Path(name).name

    def state(self, key: str) -> Path:
        return self.folder / "states" / f"{key}.json"

    def rung(self, key: str, step: int) -> Path:
        return self.folder / "rungs" / key / f"{step:012d}.json"

    def write(self, path: Path, value: Mapping[str, Any]) -> None:
        text = json.dumps({"format": FORMAT, **value})
        check = hashlib.sha256(text.encode()).hexdigest()
        beside = path.with_name(f".{os.getpid()}-{time.monotonic_ns()}")
        try:
            beside.write_text(f"{text}\n{check}\n")
            _sync(beside)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)

    def read(self, path: Path) -> dict[str, Any]:
        """A manifest. Raises Damaged; FileNotFoundError."""
        lines = path.read_bytes().split(b"\n")
        if len(lines) != 3 or hashlib.sha256(lines[0]).hexdigest().encode() != lines[1]:
            raise Damaged(f"{path} is not what was written.")
        made = json.loads(lines[0])
        if made["format"] != FORMAT:
            raise Damaged(f"{path} is of format {made['format']}; this is {FORMAT}.")
        return made

    def set_aside(self, path: Path) -> None:
        aside = self.folder / "damaged" / f"{path.name}.{time.time_ns()}"
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, aside)


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as opened:
        os.fsync(opened.fileno())


def stat(path: Path) -> tuple[int, float]:
    """Size in bytes and Unix time of the last use; of what is not there: -1 and 0."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return -1, 0.0
    return found.st_size, found.st_mtime
