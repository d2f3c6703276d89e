"""A family of tasks in two halves that share nothing: what is tuned on, and what is reported."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitruvius.contracts import Array, Documents, Split

TUNING, FINAL = "tuning", "final"


@dataclass(frozen=True, eq=False)
class Halves:
    """Two halves with as many classes each, no class and no item in common.

    That is checked when it is made, by the labels and by a hash of each item's payload; items that
    are nearly equal are not found. ``final`` is sealed from then on: what reads it raises, until
    the protocol opens it.
    """

    tuning: Split
    final: Split
    label: str = "label"
    """The attribute that names the class."""

    def __post_init__(self) -> None:
        tuning, final = self.tuning.opened(), self.final.opened()
        need_apart(tuning.documents, final.documents, self.label)
        sealed = Split(final.documents, sealed=True, targets=(self.label,))
        object.__setattr__(self, "tuning", tuning)
        object.__setattr__(self, "final", sealed)

    @classmethod
    def of(cls, tuning: Documents, final: Documents, label: str = "label") -> Halves:
        """Two sets of data as they are, such as halves of different sources."""
        return cls(Split(tuning), Split(final), label)

    @classmethod
    def cut(
        cls, documents: Documents, seed: int, classes: int | None = None, label: str = "label"
    ) -> Halves:
        """Classes at random, so many into each half; None: as many as there are, half and half."""
        known = np.unique(labels_of(documents, label))
        each = len(known) // 2 if classes is None else classes
        if not 1 <= each <= len(known) // 2:
            raise ValueError(
                f"Halves.cut needs 1 to {len(known) // 2} classes for each half of {len(known)}; "
                f"got {each}."
            )
        drawn = np.random.default_rng(seed).permutation(known)
        parts = [
            documents.take(np.flatnonzero(np.isin(documents.attributes[label], some)))
            for some in (drawn[:each], drawn[each : 2 * each])
        ]
        return cls.of(parts[0], parts[1], label)

    @property
    def splits(self) -> dict[str, Split]:
        """As a protocol takes them."""
        return {TUNING: self.tuning, FINAL: self.final}

    def swapped(self) -> Halves:
        """Tuned on the one that was reported, and the other way round."""
        return Halves(self.final, self.tuning, self.label)


def need_apart(first: Documents, second: Documents, label: str) -> None:
    """Raise ValueError where two sets share a class or an item, or differ in their number of
    classes."""
    known = [set(labels_of(part, label).tolist()) for part in (first, second)]
    if both := known[0] & known[1]:
        raise ValueError(
            f"The halves of a family may share no class; {len(both)} are in both, such as "
            f"{min(both, key=str)!r}. Cut by class: Halves.cut(documents, seed)."
        )
    if len(known[0]) != len(known[1]):
        raise ValueError(
            "One scenario for both halves needs as many classes in each; "
            f"got {len(known[0])} and {len(known[1])}. Leave classes out of the larger one."
        )
    seen = set(fingerprints(first))
    twice = [i for i, found in enumerate(fingerprints(second)) if found in seen]
    if twice:
        raise ValueError(
            f"The halves of a family may share no item; {len(twice)} of the second are in the "
            f"first, such as number {twice[0]}. Leave them out of both."
        )


def fingerprints(documents: Documents) -> list[bytes]:
    """sha256 of each item's payload, whatever its label."""
    columns = [(name, documents.payload[name]) for name in sorted(documents.payload)]
    found = []
    for i in range(len(documents)):
        made = hashlib.sha256()
        for name, column in columns:
            part = _bytes(column[i])
            made.update(f"{name} {len(part)} ".encode() + part)
        found.append(made.digest())
    return found


def labels_of(documents: Documents, label: str) -> Array:
    """The class of each item. Raises ValueError where the attribute is missing."""
    if label not in documents.attributes:
        raise ValueError(
            f"There is no attribute {label!r} that names the class; there is "
            f"{sorted(documents.attributes)}. Name it with label=."
        )
    return np.asarray(documents.attributes[label])


def _bytes(value: Any) -> bytes:
    array = np.asarray(value)
    if array.dtype.kind in "OTU":
        return repr(array.tolist()).encode(errors="surrogatepass")
    return f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
