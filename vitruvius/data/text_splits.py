"""Training, validation and sealed test part of a corpus, with no text in two of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vitruvius.contracts import Array, Documents, Split
from vitruvius.data.errors import DataError, listed
from vitruvius.data.loaded import PARTS, Loaded
from vitruvius.data.splits import split
from vitruvius.techniques.transforms import kin

TIME = "time"
KIN = "kin"  # the attribute with the group that no part may share with another


@dataclass(frozen=True, eq=False)
class Parted:
    """The parts train, validation and sealed test, and what was left out to keep them apart."""

    splits: dict[str, Split]
    notes: tuple[str, ...]


def split_texts(
    loaded: Loaded,
    by: str = "document",
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    near: float | None = 0.8,
) -> Parted:
    """Parts by "document", by "time" (the latest is the test part), or by an attribute ("source").

    Documents that are alike at ``near`` (the share of word 5-grams in common; None: not looked for)
    are in one part, and with them all of their source; by time those of a later part that are like
    one of an earlier part are left out. Labelled texts keep the shares of their classes, but by
    time. The same for the same seed.
    """
    if min(validation, test) <= 0 or validation + test >= 1:
        raise DataError(
            "split_texts needs shares above 0 that leave texts to train on; "
            f"got validation={validation} and test={test}."
        )
    documents = loaded.documents
    count = len(documents)
    cluster = np.arange(count) if near is None else kin(documents, near)
    alike = count - len(np.unique(cluster))
    notes: tuple[str, ...] = ()
    if alike:
        notes = (f"{alike:,} near duplicates of other texts are kept in the same part.",)
    if by == TIME:
        parts, notes = _by_time(loaded, cluster, validation, test)
        return Parted(_parts(documents, parts), notes)
    groups = cluster
    if by != "document":
        groups = _joined(cluster, _codes(loaded, by))
    if "label" in documents.attributes:
        return Parted(_labelled(loaded, groups, validation, test, seed), notes)
    parts = _by_group(loaded, groups, {1: validation, 2: test}, seed)
    return Parted(_parts(documents, parts), notes)


def _parts(documents: Documents, parts: Array) -> dict[str, Split]:
    return {
        name: Split(documents.take(np.flatnonzero(parts == i)), sealed=name == "test")
        for i, name in enumerate(PARTS)
    }


def _labelled(
    loaded: Loaded, groups: Array, validation: float, test: float, seed: int
) -> dict[str, Split]:
    if len(np.unique(groups)) == len(groups):
        return split(replace(loaded, task=replace(loaded.task, group=None)), validation, test, seed)
    _need_examples(loaded)
    grouped = replace(
        loaded,
        documents=loaded.documents.annotate({KIN: groups}),
        task=replace(loaded.task, group=KIN),
    )
    return split(grouped, validation, test, seed)


def _need_examples(loaded: Loaded) -> None:
    classes = loaded.task.labels
    if not classes:
        return
    counts = np.bincount(loaded.documents.attributes["label"], minlength=len(classes))
    rare = [f"{name} ({n})" for name, n in zip(classes, counts, strict=True) if n < len(PARTS)]
    if rare:
        raise DataError(
            f"{loaded.source}: too few texts to split in class {listed(rare, 5)}; each class needs "
            f"at least {len(PARTS)}, one for each part. Add texts, join classes, or leave them out."
        )


def _by_group(loaded: Loaded, groups: Array, shares: dict[int, float], seed: int) -> Array:
    """Whole groups in random order fill test, then validation; large ones go to training."""
    found, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count = len(groups)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(found))
    small = order[sizes[order] <= max(1.0, min(shares.values()) * count / 2)]
    of_group = np.zeros(len(found), np.int64)
    at = 0
    for part, share in sorted(shares.items(), reverse=True):
        held = np.cumsum(sizes[small[at:]])
        take = int(np.searchsorted(held, round(share * count), side="right"))
        take = max(take, 1)
        of_group[small[at : at + take]] = part
        at += take
    parts = of_group[group]
    if any(not (parts == i).any() for i in range(len(PARTS))):
        raise DataError(
            f"{loaded.source}: {count:,} texts in {len(found):,} groups that must stay together "
            "are too few to split. Give more texts, or split by='document', or near=None."
        )
    return parts


def _by_time(
    loaded: Loaded, cluster: Array, validation: float, test: float
) -> tuple[Array, tuple[str, ...]]:
    """By quantiles of time; texts of one time are in one part, those without any in none (-1)."""
    if TIME not in loaded.documents.attributes:
        raise DataError(
            f"{loaded.source} has no times to split by. Name the column: open_texts(time=...)."
        )
    times = loaded.documents.attributes[TIME].astype("M8[s]")
    known = ~np.isnat(times)
    ordered = np.sort(times[known])
    parts = np.full(len(times), -1)
    if len(ordered):
        late = ordered[min(int((1 - test) * len(ordered)), len(ordered) - 1)]
        middle = ordered[min(int((1 - test - validation) * len(ordered)), len(ordered) - 1)]
        parts[known] = (times[known] >= middle).astype(int) + (times[known] >= late)
    first = np.full(len(times), len(PARTS))
    np.minimum.at(first, cluster[known], parts[known])
    again = known & (parts > first[cluster])
    parts[again] = -1
    if any(not (parts == i).any() for i in range(len(PARTS))):
        raise DataError(
            f"{loaded.source}: {int(known.sum()):,} texts with {len(np.unique(ordered)):,} "
            "different times are too few to split by time. Split by='document'."
        )
    notes = []
    if not known.all():
        notes.append(f"Texts without a time, left out: {int((~known).sum()):,}.")
    if again.any():
        notes.append(f"Texts that repeat one of an earlier part, left out: {int(again.sum()):,}.")
    return parts, tuple(notes)


def _codes(loaded: Loaded, by: str) -> Array:
    known = loaded.documents.attributes
    if by not in known:
        raise DataError(
            f"{loaded.source} has no {by!r} to split by. "
            f"There is 'document' and {', '.join(map(repr, known))}."
        )
    return np.unique(np.asarray(known[by]), return_inverse=True)[1].reshape(-1)


def _joined(one: Array, two: Array) -> Array:
    """Groups that are connected by either; the smallest number of what was connected."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = (np.unique(g, return_inverse=True)[1].reshape(-1) for g in (one, two))
    size = int(first.max()) + 1 + int(second.max()) + 1
    ones = np.ones(len(first), np.int8)
    graph = coo_array((ones, (first, second + first.max() + 1)), (size, size))
    return connected_components(graph, directed=False)[1][first].astype(np.int64)
