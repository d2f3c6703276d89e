"""All classes at once: the plain classification of a half, so that any claim can be put to two
phases.

Source: Cha & Cho 2025, "Hyperparameters in Continual Learning: A Reality Check", TMLR,
arXiv:2403.09066, with a single task; the use beside continual learning is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitruvius.contracts import Documents, Fitted, Metric, Scenario, State, Task
from vitruvius.space import hyper
from vitruvius.techniques.protocols.class_incremental import SCENARIO, held_out, parts_of
from vitruvius.techniques.protocols.halves import labels_of


@dataclass(frozen=True)
class AllAtOnce(Scenario):
    """A task with all classes of a half. An order is a sample of ``items`` for training, and a
    numbering of the classes; what is held out is the same in every order.
    """

    items: float = hyper(0.8, doc="share of what is not held out that an order trains on")
    held: float = hyper(0.2, doc="share of each class that is held out")
    held_by: str | None = hyper(
        None, doc="attribute that is true of the items held out, in place of a share"
    )
    label: str = hyper("label", doc="attribute that names the class")
    metric: Metric | None = hyper(None, doc="of the task; None: the evaluating stage's own")

    def check(self) -> None:
        if not 0 < self.held < 1 or not 0 < self.items <= 1:
            raise ValueError(
                "AllAtOnce.held is a share above 0 and below 1, items one above 0 and at most 1; "
                f"got held={self.held}, items={self.items}."
            )

    def arrange(self, documents: Documents, order: int) -> State:
        given = labels_of(documents, self.label)
        known = np.unique(given)
        rng = np.random.default_rng(order)
        permuted = rng.permutation(len(known))
        place = np.empty(len(known), np.int64)
        place[permuted] = np.arange(len(known))
        label = place[np.searchsorted(known, given)]
        held = held_out(documents, self.label, self.held, self.held_by)
        taken = held.copy()
        for c in range(len(known)):
            rows = np.flatnonzero((label == c) & ~held)
            taken[rng.permutation(rows)[: max(1, round(self.items * len(rows)))]] = True
        arranged = Documents(documents.payload, {"label": label}).take(np.flatnonzero(taken))
        names = tuple(str(c) for c in known[permuted])
        return State(
            task=Task("all classes", "item", names, metric=self.metric),
            splits=parts_of(arranged, held[taken]),
            fitted={SCENARIO: Fitted(values={"classes": len(known)})},
        )
