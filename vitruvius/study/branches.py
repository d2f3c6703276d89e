"""The tree of choices with what happened to each branch: how often taken, mean and best score."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vitruvius.study.axes import Axis, written
from vitruvius.study.trials import Summary, Trial

RANGES = 6
"""Into so many ranges is an integer or real decision cut, where it has more values."""


@dataclass(frozen=True)
class Branch:
    """One label (or range of numbers) of a decision, or the root."""

    word: str
    taken: int
    """Trials that took it, those that failed or still run included."""
    failed: int
    mean: float | None
    best: float | None
    best_trial: int | None
    share: float
    """Of the trials that met this decision."""
    decisions: tuple[Fork, ...] = ()


@dataclass(frozen=True)
class Fork:
    """A decision with its branches; ``met`` trials came to it."""

    name: str
    address: str
    met: int
    branches: tuple[Branch, ...]


def branches(study: Summary, axes: Sequence[Axis]) -> Branch:
    """The whole tree. A decision stands below the option that its address names."""
    tried = [t for t in study.trials if t.status != "infeasible"]
    alike = {t.number for t in study.alike}
    by_address = {axis.address: axis for axis in axes}
    below: dict[tuple[str, str] | None, list[Axis]] = {}
    for axis in axes:
        below.setdefault(_parent(axis.address, by_address), []).append(axis)

    def branch(word: str, trials: Sequence[Trial], met: int, inner: Sequence[Axis]) -> Branch:
        scores = [(t.score, t.number) for t in trials if t.number in alike and t.score is not None]
        pick: Callable[..., Any] = max if study.better == "higher" else min
        best = pick(scores, key=lambda s: s[0]) if scores else (None, None)
        return Branch(
            word,
            len(trials),
            sum(t.status == "failed" for t in trials),
            statistics.fmean(s for s, _ in scores) if scores else None,
            best[0],
            best[1],
            len(trials) / met if met else 0.0,
            tuple(f for f in (fork(axis, trials) for axis in inner) if f.met),
        )

    def fork(axis: Axis, trials: Sequence[Trial]) -> Fork:
        met = [t for t in trials if axis.address in t.point]
        if axis.labels:
            groups = [
                (written(label), [t for t in met if axis.position(t.point[axis.address]) == i])
                for i, label in enumerate(axis.labels)
            ]
            known = sum(len(members) for _, members in groups)
            if known < len(met):
                gone = [t for t in met if axis.position(t.point[axis.address]) >= len(axis.labels)]
                groups.append(("no longer in the space", gone))
        else:
            groups = _ranges(axis, met)
        found = tuple(
            branch(word, members, len(met), below.get((axis.address, word), ()))
            for word, members in groups
        )
        return Fork(axis.title, axis.address, len(met), found)

    return branch("all trials", tried, len(tried), below.get(None, ()))


def _parent(address: str, known: dict[str, Axis]) -> tuple[str, str] | None:
    """The decision and label whose option an address lies in; None at the top."""
    found: tuple[str, str] | None = None
    for other in known:
        if address.startswith(other + "="):
            label = address[len(other) + 1 :].split(".")[0]
            if found is None or len(other) > len(found[0]):
                found = (other, label)
    return found


def _ranges(axis: Axis, trials: Sequence[Trial]) -> list[tuple[str, list[Trial]]]:
    """Trials by value, or by ranges of equal width (of equal ratio for logarithmic decisions)."""
    values = sorted({t.point[axis.address] for t in trials})
    if len(values) <= RANGES:
        return [(written(v), [t for t in trials if t.point[axis.address] == v]) for v in values]
    if axis.log:
        ratio = axis.high / axis.low
        edges = [axis.low * ratio ** (i / RANGES) for i in range(RANGES + 1)]
    else:
        edges = [axis.low + (axis.high - axis.low) * i / RANGES for i in range(RANGES + 1)]
    groups = []
    for i, (low, high) in enumerate(pairwise(edges)):
        last = i == RANGES - 1
        members = [
            t
            for t in trials
            if low <= t.point[axis.address] and (last or t.point[axis.address] < high)
        ]
        groups.append((f"{low:.3g} to {high:.3g}", members))
    return groups
