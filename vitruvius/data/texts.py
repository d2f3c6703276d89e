"""Texts as one column: UTF-8 in memory while they are few, in a file once they are many."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from vitruvius.contracts import Array
from vitruvius.data.mapped import Mapped, Resident

RESIDENT_BYTES = 2**26
BYTE = np.dtype(np.uint8)


class Texts:
    """A column of strings over one block of UTF-8: text i is ``starts[i]`` to ``stops[i]``."""

    def __init__(self, block: Mapped | Resident, starts: Array, stops: Array) -> None:
        self.block, self.starts, self.stops = block, starts, stops

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """In memory or, beyond 64 MB, in a temporary file."""
        with Spool() as spool:
            for text in texts:
                spool.add(text)
            return spool.column()

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: Any) -> Any:
        """A string for an int, else the column of these rows."""
        if isinstance(rows, (int, np.integer)):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"There is no text {rows} among {len(self)}.")
            part = self.block.part(int(self.starts[rows]), int(self.stops[rows]))
            return part.tobytes().decode("utf-8", "surrogatepass")
        return Texts(self.block, self.starts[rows], self.stops[rows])

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        made = np.empty(len(self), object)
        made[:] = list(self)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (list(self),)

    def bytes(self, row: int) -> Array:
        """UTF-8 of a text, uint8."""
        return self.block.part(int(self.starts[row]), int(self.stops[row]))

    @property
    def sizes(self) -> Array:
        """Bytes of each text."""
        return self.stops - self.starts


def _again(texts: list[str]) -> Texts:
    return Texts.of(texts)


class Spool:
    """Takes texts one by one, and keeps none but the last 64 MB of them in memory."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.parts: list[bytes] = []
        self.held = self.total = 0
        self.file: BinaryIO | None = None
        self.ends: list[int] = []
        self.sum = hashlib.sha256()

    def add(self, text: str) -> None:
        content = text.encode("utf-8", "surrogatepass")
        self.sum.update(len(content).to_bytes(8, "little"))
        self.sum.update(content)
        self.parts.append(content)
        self.held += len(content)
        self.total += len(content)
        self.ends.append(self.total)
        if self.held > RESIDENT_BYTES:
            self._write()

    def column(self) -> Texts:
        """All texts that were added; their file, which has no name, is gone with the column."""
        block: Mapped | Resident
        if self.file is None:
            block = Resident(np.frombuffer(b"".join(self.parts), np.uint8))
        else:
            self._write()
            self.file.flush()
            block = Mapped(self.file, BYTE, self.total)
        ends = np.array(self.ends, np.int64)
        return Texts(block, np.append(0, ends[:-1]) if len(ends) else ends, ends)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    @property
    def digest(self) -> str:
        """Of all texts, in their order."""
        return self.sum.hexdigest()

    def _write(self) -> None:
        if self.file is None:
            made = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  closed with the column
            self.file = cast(BinaryIO, made)
        self.file.writelines(self.parts)
        self.parts, self.held = [], 0
