"""How many numbers a task needs, read off trainings with few and with all of them.

Source: Li et al. 2018, "Measuring the intrinsic dimension of objective landscapes",
arXiv:1804.08838, section 2 (d90); Aghajanyan, Gupta & Zettlemoyer 2021, arXiv:2012.13255,
section 4.
Differs from the papers: of several seeds the means count, and the answer is the step of the sweep
in which it lies, for a sweep tells no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

FEWEST = 3  # of sizes in a sweep: one score alone says nothing of where the limit is


@dataclass(frozen=True)
class IntrinsicDimension:
    """Where in a sweep over d the scores first reach ``share`` of those of full tuning."""

    share: float
    full: float
    """Mean score where all numbers train."""
    sweep: tuple[tuple[int, float], ...]
    """d and its mean score, from the smallest."""

    @property
    def limit(self) -> float:
        """The score to be reached."""
        return self.share * self.full

    @property
    def dimension(self) -> int | None:
        """The smallest d of the sweep that reaches the limit; None where none does."""
        return next((d for d, score in self.sweep if score >= self.limit), None)

    @property
    def above(self) -> int | None:
        """The d of the sweep before it, which does not; None where the smallest reaches it."""
        reached = self.dimension
        missed = [d for d, _ in self.sweep if reached is None or d < reached]
        return missed[-1] if missed else None

    def __str__(self) -> str:
        """The answer with its whole sweep, which it is never told without."""
        name = f"d{round(100 * self.share)}"
        if self.dimension is None:
            found = f"{name} > {self.above}"
        elif self.above is None:
            found = f"{name} <= {self.dimension}"
        else:
            found = f"{self.above} < {name} <= {self.dimension}"
        curve = ", ".join(f"{d}: {score:.3f}" for d, score in self.sweep)
        return f"{found} (limit {self.limit:.3f}; {curve})"


def intrinsic_dimension(
    scores: Mapping[int, Sequence[float]], full: Sequence[float], share: float = 0.9
) -> IntrinsicDimension:
    """From scores by d, one for each seed, and those of full tuning; the higher the better.

    Full tuning must have converged, and each d must have its own learning rate, chosen on data that
    these scores are not of: the smaller d, the larger the rate.
    """
    if len(scores) < FEWEST:
        raise ValueError(
            f"An intrinsic dimension needs a sweep of at least {FEWEST} dimensions; got "
            f"{sorted(scores)}. Train with more of them, such as 10, 30, 100, 300, 1000."
        )
    if not full or not all(scores.values()):
        raise ValueError(
            "An intrinsic dimension needs a score of full tuning and of each dimension at least; "
            f"got {len(full)} and {[len(found) for _, found in sorted(scores.items())]}."
        )
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1; got {share}.")
    sweep = tuple((d, mean(found)) for d, found in sorted(scores.items()))
    return IntrinsicDimension(share, mean(full), sweep)
