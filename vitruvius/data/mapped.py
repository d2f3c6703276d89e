"""Arrays in files, read without keeping them in memory."""

from __future__ import annotations

import mmap
import os
import weakref
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vitruvius.contracts import Array

CHUNK = 2**22  # elements that are copied at a time


class Mapped:
    """An array of a file: ``array`` is it as mapped into memory; the verbs read copies of parts.

    They read by position and not through the map. The system counts mapped pages that were touched
    as memory of the process, up to 2 MB around each place, and with places all over a large file
    that soon is all of it (measured: 2.2 GB for 3.9 GB of tokens read in random order; and slower).
    """

    def __init__(self, file: BinaryIO, kind: np.dtype, count: int, offset: int = 0) -> None:
        self.kind, self.count, self.offset = kind, count, offset
        self.handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.handle)

    def __len__(self) -> int:
        return self.count

    @property
    def array(self) -> Array:
        """All of it, mapped into memory."""
        if not self.count:
            return np.zeros(0, self.kind)
        memory = mmap.mmap(self.handle, 0, access=mmap.ACCESS_READ)
        return np.frombuffer(memory, self.kind, self.count, self.offset)

    def part(self, start: int, stop: int) -> Array:
        """A copy of these elements."""
        made = np.empty(stop - start, self.kind)
        self._read(made.view(np.uint8).data, start)
        return made

    def gather(self, places: Array) -> Array:
        """A copy of the elements at these places; runs of neighbours are read at once."""
        made = np.empty(len(places), self.kind)
        if not len(places):
            return made
        view = made.view(np.uint8).data
        size = self.kind.itemsize
        begins = np.flatnonzero(np.append(True, np.diff(places) != 1))
        stops = np.append(begins[1:], len(places))
        firsts = places[begins].tolist()
        for begin, stop, first in zip(begins.tolist(), stops.tolist(), firsts, strict=True):
            self._read(view[begin * size : stop * size], first)
        return made

    def save(self, path: Path) -> None:
        """As .npy, some MB at a time."""
        with path.open("wb") as opened:
            header = {"descr": self.kind.str, "fortran_order": False, "shape": (self.count,)}
            np.lib.format.write_array_header_1_0(opened, header)
            for start in range(0, self.count, CHUNK):
                opened.write(self.part(start, min(start + CHUNK, self.count)).tobytes())

    @classmethod
    def open(cls, path: Path) -> Mapped:
        """What ``save`` wrote."""
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        with path.open("rb") as opened:
            return cls(opened, array.dtype, len(array), path.stat().st_size - array.nbytes)

    def _read(self, into: memoryview, place: int) -> None:
        at = self.offset + place * self.kind.itemsize
        while into:
            done = os.preadv(self.handle, [into], at)
            if not done:
                raise OSError("A file of texts or tokens became shorter while it was read.")
            into, at = into[done:], at + done


class Resident:
    """An array in memory with the same verbs."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def part(self, start: int, stop: int) -> Array:
        """A view of these elements."""
        return self.array[start:stop]

    def gather(self, places: Array) -> Array:
        """A copy of the elements at these places."""
        return self.array[places]

    def save(self, path: Path) -> None:
        """As .npy."""
        np.save(path, self.array, allow_pickle=False)
