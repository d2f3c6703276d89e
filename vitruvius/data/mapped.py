"""Arrays in files, read without keeping them in memory."""

from __future__ import annotations

import mmap
from typing import BinaryIO

import numpy as np

from vitruvius.contracts import Array

KEPT_BYTES = 2**27  # pages that stay mapped once they were read
AROUND_BYTES = 2**17  # of pages that the system may map around a place that is read


class Mapped:
    """An array of a file, mapped into memory; pages are given back once 128 MB may be.

    The system counts pages of a mapped file as memory of the process for as long as they are
    mapped. Given back, they stay in its own cache.
    """

    def __init__(self, file: BinaryIO, kind: np.dtype, count: int, offset: int = 0) -> None:
        if count:
            self.memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.array: Array = np.frombuffer(self.memory, kind, count, offset)
        else:
            self.memory, self.array = None, np.zeros(0, kind)
        self.read = 0

    def __len__(self) -> int:
        return len(self.array)

    def part(self, start: int, stop: int) -> Array:
        """A view of these elements."""
        self._count((stop - start) * self.array.itemsize, runs=1)
        return self.array[start:stop]

    def gather(self, places: Array) -> Array:
        """A copy of the elements at these places."""
        runs = int(np.count_nonzero(np.diff(places) != 1)) + 1
        self._count(len(places) * self.array.itemsize, runs)
        return self.array[places]

    def _count(self, size: int, runs: int) -> None:
        self.read += size + runs * AROUND_BYTES
        if self.read > KEPT_BYTES and self.memory is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.memory.madvise(mmap.MADV_DONTNEED)
            self.read = 0


class Resident:
    """An array in memory with the same verb."""

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
