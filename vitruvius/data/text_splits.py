"""Training, validation and sealed test part of a corpus, with no text in two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vitruvius.contracts import Array, Column, Documents, Split
from vitruvius.data.errors import DataError, listed
from vitruvius.data.loaded import PARTS, Loaded
from vitruvius.data.splits import split
from vitruvius.techniques.transforms import kin

TIME = "time"
OWN = "split"  # the attribute with the part that the data itself gives a text
KIN = "kin"  # the attribute with the group that no part may share with another
STRATIFIED = ("item", "pair")  # levels at which a document has one label


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
    one of an earlier part are left out. Of words they are compared as one text, of two texts both
    together, of queries their positives. Labelled texts keep the shares of their classes, but by
    time; sentences of tagged words and queries do not. The same for the same seed.

    Parts that the data itself names (attribute "split") are kept, but for texts of training or
    validation that are like one of a later part: these are left out. A part that it does not name
    is cut from its training part.
    """
    if min(validation, test) <= 0 or validation + test >= 1:
        raise DataError(
            "split_texts needs shares above 0 that leave texts to train on; "
            f"got validation={validation} and test={test}."
        )
    own = OWN in loaded.documents.attributes
    if own and by == TIME:
        raise DataError(
            f"{loaded.source} has parts of its own already. Split it by='document', or give all "
            "its texts in one file to split by time."
        )
    count = len(loaded.documents)
    cluster = np.arange(count) if near is None else kin(_compared(loaded), near)
    notes: tuple[str, ...] = ()
    if own:
        rows, notes = _apart(loaded, cluster)
        loaded = replace(loaded, documents=loaded.documents.take(rows))
        cluster = cluster[rows]
    if alike := len(cluster) - len(np.unique(cluster)):
        notes += (f"{alike:,} near duplicates of other texts are kept in the same part.",)
    if by == TIME:
        parts, notes = _by_time(loaded, cluster, validation, test)
        return Parted(_parts(loaded.documents, parts), notes)
    groups = cluster
    if by != "document":
        groups = _joined(cluster, _codes(loaded, by))
    if "label" in loaded.documents.attributes and loaded.task.level in STRATIFIED:
        if own and (rare := _rare(loaded)):
            notes += (f"Too few texts to choose by, so only trained on: {listed(rare, 5)}.",)
        return Parted(_labelled(loaded, groups, validation, test, seed), notes)
    parts = _unstratified(loaded, groups, {1: validation, 2: test}, seed)
    return Parted(_parts(loaded.documents, parts), notes)


class _Made:
    """A column of texts that are made when they are read."""

    def __init__(self, count: int, make: Callable[[int], str]) -> None:
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: Any) -> str:
        return self.make(row)


def _compared(loaded: Loaded) -> Documents:
    """What near duplicates are looked for in, as payload "text"."""
    payload, level = loaded.documents.payload, loaded.task.level
    if level == "set":
        column: Column = payload["positive"]
    elif level == "token":
        words = payload["words"]
        column = _Made(len(words), lambda row: " ".join(words[row]))
    elif level == "pair":
        one, two = payload["text"], payload["other"]
        column = _Made(len(one), lambda row: f"{one[row]}\n{two[row]}")
    else:
        column = payload["text"]
    return Documents({"text": column}, digest=loaded.documents.digest)


def _apart(loaded: Loaded, cluster: Array) -> tuple[Array, tuple[str, ...]]:
    """Rows of the data's own parts without those that are like one of a later part."""
    parts = np.asarray(loaded.documents.attributes[OWN], np.int64)
    if not (parts == 0).any():
        raise DataError(f"{loaded.source} names no text of the training part. Mark some 'train'.")
    latest = np.zeros(int(cluster.max()) + 1, np.int64)
    np.maximum.at(latest, cluster, parts)
    again = parts < latest[cluster]
    notes = tuple(
        f"The data names no {name} part: it is cut from the training part."
        for part, name in enumerate(PARTS)
        if not (parts == part).any()
    )
    for part, name in enumerate(PARTS):
        if count := int((again & (parts == part)).sum()):
            later = "validation or test" if part == 0 else "test"
            notes += (f"{count:,} of {name} left out: like a text of {later}.",)
    return np.flatnonzero(~again), notes


def _parts(documents: Documents, parts: Array) -> dict[str, Split]:
    return {
        name: Split(documents.take(np.flatnonzero(parts == i)), sealed=name == "test")
        for i, name in enumerate(PARTS)
    }


def _labelled(
    loaded: Loaded, groups: Array, validation: float, test: float, seed: int
) -> dict[str, Split]:
    own = OWN in loaded.documents.attributes
    if len(np.unique(groups)) == len(groups):
        plain = replace(loaded, task=replace(loaded.task, group=None))
        return split(plain, validation, test, seed, "train" if own else "refuse")
    if not own and (rare := _rare(loaded)):
        raise DataError(
            f"{loaded.source}: too few texts to split in class {listed(rare, 5)}; each class needs "
            f"at least {_needed(loaded)}, one for each part. Add texts, join classes, or leave "
            "them out."
        )
    grouped = replace(
        loaded,
        documents=loaded.documents.annotate({KIN: groups}),
        task=replace(loaded.task, group=KIN),
    )
    return split(grouped, validation, test, seed)


def _rare(loaded: Loaded) -> list[str]:
    """Classes of the training part with fewer texts than parts are cut from it, with their counts:
    where groups are whole, ``split`` only counts these."""
    classes, known = loaded.task.labels, loaded.documents.attributes
    if not classes:
        return []
    parts = np.asarray(known[OWN]) if OWN in known else np.zeros(len(loaded.documents), np.int8)
    counts = np.bincount(known["label"][parts == 0], minlength=len(classes))
    need = _needed(loaded)
    return [f"{c} ({n})" for c, n in zip(classes, counts, strict=True) if 0 < n < need]


def _needed(loaded: Loaded) -> int:
    """Texts that a class needs: one to train on, and one for each part that the data have not."""
    known = loaded.documents.attributes
    parts = known.get(OWN, np.zeros(0, np.int8))
    return 1 + sum(not (np.asarray(parts) == part).any() for part in (1, 2))


def _unstratified(loaded: Loaded, groups: Array, shares: dict[int, float], seed: int) -> Array:
    """Whole groups in random order fill test, then validation; large ones go to training.

    Of data with parts of its own only those that it lacks, out of its training part.
    """
    parts = np.zeros(len(groups), np.int64)
    if OWN in loaded.documents.attributes:
        parts = np.array(loaded.documents.attributes[OWN], np.int64)
        if len({*zip(groups.tolist(), parts.tolist(), strict=True)}) > len(np.unique(groups)):
            raise DataError(
                f"{loaded.source}: its own split puts texts of one group into two parts. "
                "Mend the split, or split by='document'."
            )
    wanted = {part: share for part, share in shares.items() if not (parts == part).any()}
    free = np.flatnonzero(parts == 0)
    found, group, sizes = np.unique(groups[free], return_inverse=True, return_counts=True)
    count = len(free)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(found))
    small = order[sizes[order] <= max(1.0, min(shares.values()) * count / 2)]
    of_group = np.zeros(len(found), np.int64)
    at = 0
    for part, share in sorted(wanted.items(), reverse=True):
        held = np.cumsum(sizes[small[at:]])
        take = int(np.searchsorted(held, round(share * count), side="right"))
        take = max(take, 1)
        of_group[small[at : at + take]] = part
        at += take
    parts[free] = of_group[group]
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
