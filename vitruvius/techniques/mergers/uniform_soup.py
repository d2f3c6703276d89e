"""The mean of the weights of all candidates.

Source: Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves
accuracy without increasing inference time", arXiv:2203.05482, section 2 (table 2, uniform soup).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitruvius.contracts import Candidate, Given, Merged, Merger
from vitruvius.techniques.mergers.mixing import Mean, alone, check_kin


@dataclass(frozen=True)
class UniformSoup(Merger):
    """theta = (1 / k) sum_i theta_i, summed in float32, one candidate at a time.

    No candidate is judged. Whole numbers and truth values are copied from the first. Statistics of
    batches are averaged like weights: have them measured anew
    (``vitruvius.train.candidates.restate``).
    """

    def merge(self, candidates: Sequence[Candidate], given: Given) -> Merged:
        check_kin(self, candidates)
        if len(candidates) == 1:
            return alone(candidates[0], 0, 1)
        mean = Mean(self, candidates[0].tensors())
        for number, candidate in enumerate(candidates[1:], 1):
            mean.add(candidate.tensors(), number)
        return Merged(mean.value(), (1 / len(candidates),) * len(candidates))
