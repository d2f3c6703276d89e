"""Exemplars: the few items of a class that a learner keeps, and how they are chosen.

Source: Rebuffi et al. 2017, "iCaRL: Incremental Classifier and Representation Learning",
arXiv:1611.07725, algorithm 4 (herding, after Welling 2009).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vitruvius.contracts import Lesson

CHOICES = ("herding", "random")


class Memory:
    """At most so many items of each class, best first, and nothing else of what came."""

    def __init__(self, size: int, choice: str, rng: torch.Generator) -> None:
        self.size, self.choice, self.rng = size, choice, rng
        self.items: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return sum(map(len, self.items.values()))

    def keep(self, lesson: Lesson, features: Callable[[Tensor], Tensor]) -> int:
        """Choose from the classes of a lesson. How many items were read for that."""
        read = 0
        for c in range(lesson.seen, lesson.classes):
            items = lesson.inputs[lesson.label == c]
            count = min(self.size, len(items))
            if not count:
                continue
            if self.choice == "herding":
                chosen = herded(features(items), count)
                read += len(items)
            else:
                chosen = torch.randperm(len(items), generator=self.rng)[:count]
            self.items[c] = items[chosen.to(items.device)].clone()
        return read

    def all(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """Items [K ...] and classes [K], class by class; none before the first task."""
        held = [(c, x) for c, x in sorted(self.items.items()) if len(x)]
        if not held:
            return lesson.inputs[:0], lesson.label[:0]
        labels = torch.cat([lesson.label.new_full((len(x),), c) for c, x in held])
        return torch.cat([x for _, x in held]), labels


def herded(features: Float[Tensor, "N d"], count: int) -> Int[Tensor, " K"]:
    """The positions of so many items, each the one that brings the mean of those chosen so far
    nearest to the mean of all: argmin_i | mu - (f_i + sum of the chosen) / k |, none twice.

    Features are first brought to length 1.
    """
    f = F.normalize(features.double(), dim=1)
    mean, total = f.mean(0), torch.zeros_like(f[0])
    free = torch.ones(len(f), dtype=torch.bool, device=f.device)
    chosen = []
    for k in range(1, min(count, len(f)) + 1):
        far = (mean - (f + total) / k).square().sum(1).masked_fill(~free, torch.inf)
        best = int(far.argmin())
        chosen.append(best)
        free[best] = False
        total = total + f[best]
    return torch.tensor(chosen, dtype=torch.long, device=features.device)


def need_choice(owner: object, choice: str) -> None:
    """Raise ValueError where ``choice`` is no way to choose exemplars."""
    if choice not in CHOICES:
        raise ValueError(f"{type(owner).__name__}.exemplars is herding or random; got {choice!r}.")
