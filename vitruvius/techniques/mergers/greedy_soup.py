"""Add candidates to the mean one by one, best first, each kept only if it helps.

Source: Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves
accuracy without increasing inference time", arXiv:2203.05482, recipe 1 (section 2).
Differs from the paper: an equal score is not enough unless ``ties`` says so, as in the authors'
code (the paper's recipe accepts it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from vitruvius.contracts import Candidate, Given, Merged, Merger
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.mergers.mixing import Mean, alone, check_kin, ordered, upward


@dataclass(frozen=True)
class GreedySoup(Merger):
    """The soup begins with the best; candidate theta is kept if the score of (n soup + theta) /
    (n + 1) on the validation part is higher than that of the soup so far, by more than ``margin``.

    So it is never below the best single one on that part, which is measured here again. Takes as
    many evaluations as there are candidates, and the memory of two models beside the one that is
    judged. Where only the best remains, the others lie elsewhere: too high a rate, too few of them,
    or another basin.
    """

    margin: float = hyper(
        0.0,
        one_of(0.0, log_uniform(1e-5, 1e-3)),
        "by how much a candidate must raise the score, in units of the score",
    )
    ties: bool = hyper(
        False, one_of(False, True), "whether a candidate that leaves the score as it is is kept"
    )
    shuffled: bool = hyper(
        False,
        one_of(False, True),
        "whether those after the best come in random order, in place of that by score",
    )
    needs: ClassVar[tuple[str, ...]] = ("judge",)

    def check(self) -> None:
        if self.margin < 0:
            raise ValueError(
                f"GreedySoup.margin must be at least 0; got {self.margin}. "
                "A candidate that lowers the score is never kept."
            )

    def merge(self, candidates: Sequence[Candidate], given: Given) -> Merged:
        check_kin(self, candidates)
        if len(candidates) == 1:
            return alone(candidates[0], 0, 1)
        best, *others = ordered(self, candidates)
        if self.shuffled:
            order = torch.randperm(len(others), generator=given.rng)
            others = [others[int(i)] for i in order]
        taken = [best]
        score = upward(given.judge(candidates[best].tensors()))
        soup = Mean(self, candidates[best].tensors(), best)
        for number in others:
            found = upward(given.judge(soup.with_(candidates[number].tensors(), number)))
            if self._accepts(found, score):
                soup.add(candidates[number].tensors(), number)
                taken.append(number)
                score = found
        if len(taken) == 1:
            return alone(candidates[best], best, len(candidates))
        shares = (float(i in taken) / len(taken) for i in range(len(candidates)))
        return Merged(soup.value(), tuple(shares))

    def _accepts(self, found: float, score: float) -> bool:
        """Whether a score is better than that of the soup so far; never one that is no number."""
        if self.ties and self.margin == 0:
            return found >= score
        return found - score > self.margin
