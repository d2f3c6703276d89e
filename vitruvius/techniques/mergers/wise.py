"""Between the weights that a training began with and those that it ended with.

Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT), arXiv:2109.01903,
section 3.
Differs from the paper: the share is chosen on the validation part; the paper also gives 0.5 as the
one to take where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vitruvius.contracts import Candidate, Given, Merged, Merger, Tensors
from vitruvius.space import hyper, integers, one_of
from vitruvius.techniques.mergers.greedy_soup import GreedySoup
from vitruvius.techniques.mergers.mixing import (
    alone,
    averaged,
    check_alike,
    check_kin,
    upward,
    wide,
)
from vitruvius.techniques.mergers.uniform_soup import UniformSoup


@dataclass(frozen=True)
class WiSE(Merger):
    """theta(a) = (1 - a) theta_0 + a theta_1, with the a of an even grid on [0, 1] that has the
    best score on the validation part; of equals the one nearest to the trained weights.

    theta_0 is the candidate with ``trained=False``; theta_1 is what ``soup`` makes of the others.
    Takes ``points`` evaluations, and the memory of three models.
    """

    soup: Merger = hyper(
        UniformSoup(), one_of(UniformSoup(), GreedySoup.space()), "of the trained candidates"
    )
    points: int = hyper(11, integers(2, 21), "of the grid, both ends included")
    start: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("judge",)

    def check(self) -> None:
        if self.points < 2:
            raise ValueError(f"WiSE.points must be at least 2, both ends; got {self.points}.")

    def merge(self, candidates: Sequence[Candidate], given: Given) -> Merged:
        check_kin(self, candidates)
        if len(candidates) == 1:
            return alone(candidates[0], 0, 1)
        starts = [i for i, candidate in enumerate(candidates) if not candidate.trained]
        if len(starts) != 1:
            raise ValueError(
                "WiSE needs one candidate with trained=False, the weights that the trainings began "
                f"with; got {len(starts)} among {len(candidates)}. Without them take UniformSoup."
            )
        at = starts[0]
        others = [candidate for candidate in candidates if candidate.trained]
        zero = candidates[at].tensors()
        for number, candidate in enumerate(candidates):
            check_alike(self, zero, candidate.tensors(), number, at)
        merged = self.soup.merge(others, given)
        best, share = upward(given.judge(merged.tensors)), 1.0
        for i in range(self.points - 2, -1, -1):
            a = i / (self.points - 1)
            score = upward(given.judge(between(zero, merged.tensors, a)))
            if score > best:
                best, share = score, a
        tensors = merged.tensors if share == 1 else between(zero, merged.tensors, share)
        shares = [share * one for one in merged.shares]
        shares.insert(at, 1 - share)
        return Merged(tensors, tuple(shares))


def between(zero: Tensors, one: Tensors, share: float) -> dict[str, Tensor]:
    """(1 - share) zero + share one, in float32; whole numbers are those of ``one``."""
    return {
        name: zero[name].detach().to(wide(t)).lerp(t.detach().to(wide(t)), share).to(t.dtype)
        if averaged(t)
        else t
        for name, t in one.items()
    }
