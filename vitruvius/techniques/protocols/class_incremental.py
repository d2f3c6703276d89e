"""Classes that come a few at a time, in an order drawn by a seed.

Source: Rebuffi et al. 2017, arXiv:1611.07725, section 4; as the scenario of Cha & Cho 2025,
"Hyperparameters in Continual Learning: A Reality Check", TMLR, arXiv:2403.09066 (number of
tasks, classes of a task, memory, shuffled order).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitruvius.contracts import Array, Documents, Fitted, Scenario, Split, State, Task
from vitruvius.space import hyper
from vitruvius.techniques.protocols.halves import labels_of

SCENARIO = "scenario"


@dataclass(frozen=True)
class ClassIncremental(Scenario):
    """Permutes the classes, numbers them in that order, and cuts them into tasks.

    Both splits get the attributes "label" (the new number) and "task", both from 0. ``memory`` is
    in ``fitted["scenario"]``, with the classes of each task.
    """

    each: int = hyper(5, doc="classes of a task")
    first: int | None = hyper(None, doc="classes of the first task; None: as many as of the others")
    memory: int = hyper(20, doc="exemplars of each class that a learner may keep")
    held: float = hyper(0.2, doc="share of each class that is held out, the same in every order")
    held_by: str | None = hyper(
        None, doc="attribute that is true of the items held out, in place of a share"
    )
    label: str = hyper("label", doc="attribute that names the class")

    def check(self) -> None:
        if self.each < 1 or (self.first is not None and self.first < 1) or self.memory < 0:
            raise ValueError(
                "ClassIncremental needs at least one class in a task and no negative memory; got "
                f"each={self.each}, first={self.first}, memory={self.memory}."
            )
        if not 0 < self.held < 1:
            raise ValueError(
                "ClassIncremental.held is a share above 0 and below 1; "
                f"got {self.held}. To name the items, give held_by."
            )

    def sizes(self, classes: int) -> tuple[int, ...]:
        """Classes of each task. Raises ValueError where some would be left over."""
        first = self.each if self.first is None else self.first
        more, rest = divmod(classes - first, self.each)
        if classes < first or rest:
            raise ValueError(
                f"ClassIncremental cannot cut {classes} classes into {first} and then {self.each} "
                "at a time. Choose each and first so that none is left over."
            )
        return (first, *[self.each] * more)

    def arrange(self, documents: Documents, order: int) -> State:
        given = labels_of(documents, self.label)
        known = np.unique(given)
        sizes = self.sizes(len(known))
        permuted = np.random.default_rng(order).permutation(len(known))
        place = np.empty(len(known), np.int64)
        place[permuted] = np.arange(len(known))
        label = place[np.searchsorted(known, given)]
        task = np.repeat(np.arange(len(sizes)), sizes)[label]
        held = held_out(documents, self.label, self.held, self.held_by)
        arranged = Documents(documents.payload, {"label": label, "task": task})
        told = {"tasks": list(sizes), "memory": self.memory}
        return State(
            task=Task("classes in tasks", "item", tuple(str(c) for c in known[permuted])),
            splits=parts_of(arranged, held),
            fitted={SCENARIO: Fitted(values=told)},
        )


def held_out(documents: Documents, label: str, share: float, by: str | None) -> Array:
    """True of the items held out: a share of each class, at least one, drawn without regard to any
    seed; or as the attribute ``by`` says. Raises ValueError where a class is not in both parts."""
    given = labels_of(documents, label)
    if by is not None:
        held = labels_of(documents, by).astype(bool)
    else:
        held = np.zeros(len(documents), bool)
        for c, name in enumerate(np.unique(given)):
            rows = np.flatnonzero(given == name)
            drawn = np.random.default_rng([c, len(rows)]).permutation(rows)
            held[drawn[: max(1, round(share * len(rows)))]] = True
    for name in np.unique(given):
        some = held[given == name]
        if some.all() or not some.any():
            raise ValueError(
                f"Class {name} needs items to learn from and items held out; it has "
                f"{int((~some).sum())} and {int(some.sum())}. Leave it out, or change what is held."
            )
    return held


def parts_of(documents: Documents, held: Array) -> dict[str, Split]:
    """ "train" and "validation"."""
    rows = {"train": np.flatnonzero(~held), "validation": np.flatnonzero(held)}
    return {name: Split(documents.take(some)) for name, some in rows.items()}
