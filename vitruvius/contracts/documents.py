"""Data of any medium, and who may read it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@runtime_checkable
class Column(Protocol):
    """One value per item, perhaps lazy or memory-mapped: a numpy array is one.

    An int gives an item; an integer array or a slice gives the column of those rows, in order.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> Any: ...


class SealedError(Exception):
    """A part of the data was read that this phase may not read."""


@dataclass(frozen=True, eq=False)
class Documents:
    """Items of any medium: texts, sequences, images, graphs, fields, table rows, pairs of these.

    ``digest`` stands for payload, attributes and order; it is part of every store key.
    """

    payload: Mapping[str, Column]
    """What models read: "text", "image", "edges", "item" + "text", "query" + "positive"."""
    attributes: Mapping[str, Array] = field(default_factory=dict)
    """What is known of each item: label, source, time, group, origin, scores. [N] or [N ...]."""
    digest: str = ""
    """Given by who knows a cheaper one (a file's); else computed from the content."""

    def __post_init__(self) -> None:
        lengths = {n: len(c) for m in (self.payload, self.attributes) for n, c in m.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Every column of Documents needs the same length; got {lengths}.")
        if twice := set(self.payload) & set(self.attributes):
            raise ValueError(
                f"Documents has {sorted(twice)} both as payload and as attribute. Rename one."
            )
        if not self.digest:
            object.__setattr__(self, "digest", _content(self.payload, self.attributes))

    def __len__(self) -> int:
        for columns in (self.payload, self.attributes):
            for column in columns.values():
                return len(column)
        return 0

    def take(self, indices: Array) -> Documents:
        """The items at these positions, in this order. Its digest follows without reading them."""
        rows = np.asarray(indices)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise ValueError(
                f"Documents.take needs one axis of integers; got {rows.dtype} {rows.shape}. "
                "For a mask, pass numpy.flatnonzero(mask)."
            )
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise ValueError(
                f"Documents.take needs positions from 0 to {len(self) - 1}; "
                f"got {rows.min()} to {rows.max()}."
            )
        rows = rows.astype("<i8")
        if np.array_equal(rows, np.arange(len(self))):
            return self
        return Documents(
            _each(self.payload, lambda column: column[rows]),
            _each(self.attributes, lambda column: column[rows]),
            _digest(b"take", self.digest.encode(), rows.tobytes()),
        )

    def annotate(self, attributes: Mapping[str, Array]) -> Documents:
        """With more attributes beside those it has; none is overwritten."""
        if twice := set(attributes) & {*self.payload, *self.attributes}:
            raise ValueError(
                f"Documents has {sorted(twice)} already, and nobody overwrites. Choose a new name."
            )
        joined = {**self.attributes, **attributes}
        if isinstance(self.attributes, _Guarded):
            joined = _Guarded(joined, self.attributes.hidden)
        digest = _digest(b"annotate", self.digest.encode(), _content({}, attributes).encode())
        return Documents(self.payload, joined, digest)


@dataclass(frozen=True, eq=False)
class Split:
    """A part of the data and what this phase may read of it; reading anything else raises.

    ``targets`` names the columns that count as labels, in payload or attributes. A sealed split
    gives nothing but its digest until the study, its owner, opens it once for the final design.
    """

    content: Documents = field(repr=False)
    inputs: bool = True
    labels: bool = True
    sealed: bool = False
    targets: tuple[str, ...] = ("label",)

    def __getattribute__(self, name: str) -> Any:
        if name == "content":
            raise SealedError("Split.content is closed to stages. Read Split.documents.")
        return object.__getattribute__(self, name)

    @property
    def documents(self) -> Documents:
        """What this phase may read."""
        content: Documents = object.__getattribute__(self, "content")
        if self.sealed:
            raise SealedError(
                "This split is sealed: no stage may read it. "
                "The study opens it once, for the final design, with Split.opened()."
            )
        if self.inputs and self.labels:
            return content
        if not self.inputs and not self.labels:
            raise SealedError("This phase may read neither inputs nor labels of this split.")
        hidden = set(self.targets)
        if not self.inputs:
            hidden = {*content.payload} - hidden
        return Documents(
            _Guarded(content.payload, hidden), _Guarded(content.attributes, hidden), content.digest
        )

    @property
    def digest(self) -> str:
        """Of the whole content, sealed or not: for keys."""
        return object.__getattribute__(self, "content").digest

    def opened(self) -> Split:
        """A copy that may be read whole. For the owner of the split alone: the study."""
        return Split(object.__getattribute__(self, "content"), targets=self.targets)


class _Guarded(Mapping[str, Any]):
    """Columns of which some are hidden: they are not listed, and asking for one raises."""

    def __init__(self, columns: Mapping[str, Any], hidden: set[str]) -> None:
        self.columns = {n: c for n, c in columns.items() if n not in hidden}
        self.hidden = hidden

    def __getitem__(self, name: str) -> Any:
        if name in self.hidden:
            raise SealedError(f"This phase may not read {name!r} of this split.")
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def _each(columns: Mapping[str, Any], change: Callable[[Any], Any]) -> Mapping[str, Any]:
    changed = {name: change(column) for name, column in columns.items()}
    return _Guarded(changed, columns.hidden) if isinstance(columns, _Guarded) else changed


def _digest(*parts: bytes) -> str:
    made = hashlib.sha256()
    for part in parts:
        made.update(len(part).to_bytes(8, "little"))
        made.update(part)
    return made.hexdigest()


def _content(payload: Mapping[str, Column], attributes: Mapping[str, Column]) -> str:
    parts = []
    for role, columns in (("payload", payload), ("attributes", attributes)):
        for name in sorted(columns):
            parts += [f"{role}/{name}".encode(), _bytes(np.asarray(columns[name][:]))]
    return _digest(*parts)


def _bytes(value: Any) -> bytes:
    if value is None or isinstance(value, (str, bytes, bool, int, float)):
        return repr(value).encode()
    if isinstance(value, (tuple, list)):
        return _digest(b"items", *map(_bytes, value)).encode()
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(
            f"Documents cannot compute a digest of {type(value).__name__}. "
            "Use arrays, numbers, strings or tuples of these, or give digest=."
        )
    array = np.asarray(value)
    if array.dtype.hasobject or array.dtype.kind == "T":  # objects, strings of any length
        return _digest(str(array.shape).encode(), *map(_bytes, array.tolist())).encode()
    return f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
