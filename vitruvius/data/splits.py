"""Training, validation and sealed test part of the data."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from vitruvius.contracts import Array, Split
from vitruvius.data.errors import DataError, listed
from vitruvius.data.loaded import PARTS, Loaded


def split(
    loaded: Loaded,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    rare: Literal["refuse", "train"] = "refuse",
) -> dict[str, Split]:
    """Cut into "train", "validation" and a sealed "test", the same for the same seed.

    Classes keep their shares. Rows of one group (``task.group``) stay together. Parts that the data
    itself names (attribute "split") are kept; one that it does not name is cut from its training
    part. A class with fewer rows than parts is refused, or all of it is trained on.
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 < share < 1:
            raise DataError(f"split needs {name} between 0 and 1, as a share; got {share}.")
    if validation + test >= 1:
        raise DataError(
            f"split: validation {validation} and test {test} leave nothing to train on. "
            "Together they must be below 1."
        )
    known = loaded.documents.attributes
    parts = np.full(len(loaded.documents), -1)
    if "split" in known:
        parts = np.array(known["split"], np.int64)
        _check_given(loaded, parts)
    _cut(loaded, parts, {1: validation, 2: test}, seed, rare == "train")
    return {
        name: Split(loaded.documents.take(np.flatnonzero(parts == i)), sealed=name == "test")
        for i, name in enumerate(PARTS)
    }


def _check_given(loaded: Loaded, parts: Array) -> None:
    if not (parts == 0).any():
        raise DataError(f"{loaded.source} names no row of the training part. Mark some 'train'.")
    if loaded.task.group:
        groups = loaded.documents.attributes[loaded.task.group]
        of_group = {(g, p) for g, p in zip(groups.tolist(), parts.tolist(), strict=True)}
        if len(of_group) > len(np.unique(groups)):
            raise DataError(
                f"{loaded.source}: its own split puts rows of one group into two parts. "
                "Mend the split, or open it without a group."
            )
    label = loaded.documents.attributes["label"]
    unseen = set(label.tolist()) - set(label[parts == 0].tolist())
    if loaded.task.labels and unseen:
        raise DataError(
            f"{loaded.source}: its own training part has no row of class "
            f"{listed([loaded.task.labels[i] for i in sorted(unseen)])}. Move some there."
        )


def _cut(loaded: Loaded, parts: Array, shares: dict[int, float], seed: int, lenient: bool) -> None:
    """Fill ``parts`` where it names no validation or no test, from what may be cut."""
    wanted = {i: share for i, share in shares.items() if not (parts == i).any()}
    free = np.flatnonzero(parts <= 0)
    parts[free] = 0
    if not wanted:
        return
    label = loaded.documents.attributes["label"][free]
    strata = label if loaded.task.labels else np.zeros(len(free), np.int64)
    generator = np.random.Generator(np.random.PCG64(seed))
    if loaded.task.group:
        groups = loaded.documents.attributes[loaded.task.group][free]
        parts[free] = _by_group(loaded, groups, strata, wanted, generator)
    else:
        parts[free] = _by_stratum(loaded, strata, wanted, generator, lenient)


def _by_stratum(
    loaded: Loaded,
    strata: Array,
    wanted: dict[int, float],
    generator: np.random.Generator,
    lenient: bool,
) -> Array:
    """Of each stratum its share to each part, at least one row; the totals come out rounded."""
    found, stratum, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    need = 1 + len(wanted)
    if (sizes < need).any() and not (lenient and (sizes >= need).any()):
        _too_few(loaded, found, sizes, need)
    parts = np.zeros(len(strata), np.int64)
    counts = {
        i: np.maximum(_apportion(sizes, share * len(strata)), 1) for i, share in wanted.items()
    }
    for s, size in enumerate(sizes):
        if size < need:
            continue
        rows = generator.permutation(np.flatnonzero(stratum == s))
        start = 0
        for i in wanted:
            left = size - start - (need - 1 - list(wanted).index(i))
            take = min(int(counts[i][s]), left)
            parts[rows[start : start + take]] = i
            start += take
    return parts


def _too_few(loaded: Loaded, found: Array, sizes: Array, need: int) -> None:
    if not loaded.task.labels:
        raise DataError(
            f"{loaded.source} has {int(sizes.sum())} rows, too few to split; it needs at least "
            f"{need}, and hundreds to learn anything."
        )
    small = [
        f"{loaded.task.labels[c]} ({n})" for c, n in zip(found, sizes, strict=True) if n < need
    ]
    raise DataError(
        f"{loaded.source}: too few rows to split in class {listed(small, 5)}; each class needs at "
        f"least {need}, one for each part. Add rows, join these classes, or leave them out."
    )


def _apportion(sizes: Array, total: float) -> Array:
    """Whole shares of ``total`` in proportion to sizes, by largest remainder."""
    exact = sizes * (total / sizes.sum())
    whole = np.floor(exact).astype(np.int64)
    left = round(total) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[: max(left, 0)]] += 1
    return whole


def _by_group(
    loaded: Loaded,
    groups: Array,
    strata: Array,
    wanted: dict[int, float],
    generator: np.random.Generator,
) -> Array:
    """Whole groups, the largest first, each to the part that then misses its class counts least."""
    found, group = np.unique(groups, return_inverse=True)
    classes, stratum = np.unique(strata, return_inverse=True)
    if len(found) < 1 + len(wanted):
        raise DataError(
            f"{loaded.source} has {len(found)} groups, too few to split; "
            f"it needs at least {1 + len(wanted)}. Open it without a group, or add groups."
        )
    table = np.zeros((len(found), len(classes)))
    np.add.at(table, (group, stratum), 1)
    choices = [0, *wanted]
    shares = np.array([1 - sum(wanted.values()), *wanted.values()])
    target = shares[:, None] * table.sum(0)
    have = np.zeros_like(target)
    of_group = np.zeros(len(found), np.int64)
    shuffled = generator.permutation(len(found))
    order = shuffled[np.argsort(-table[shuffled].sum(1), kind="stable")]
    for position, g in enumerate(order):
        empty = [k for k in range(len(choices)) if not have[k].any()]
        must = empty if len(order) - position <= len(empty) else range(len(choices))
        best = min(must, key=lambda k: _misses(have, target, k, table[g]))
        have[best] += table[g]
        of_group[g] = choices[best]
    seen = table[of_group == 0].sum(0) > 0
    if loaded.task.labels and not seen.all():
        names = [loaded.task.labels[c] for c in classes[~seen]]
        raise DataError(
            f"{loaded.source}: split by group, the training part has no row of class "
            f"{listed(names)}. Each class needs rows in several groups."
        )
    return of_group[group]


def _misses(have: Array, target: Array, part: int, added: Array) -> float:
    """How far the class counts are from the wanted ones once these rows are in this part."""
    after = have.copy()
    after[part] += added
    return math.fsum((((after - target) / np.maximum(target, 1)) ** 2).ravel().tolist())
