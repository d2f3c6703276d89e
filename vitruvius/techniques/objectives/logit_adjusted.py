"""Learning from labels of which some are rare.

Source: Menon et al. 2021, "Long-tail learning via logit adjustment", arXiv:2007.07314, equation 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.contracts import Corrupted, Given, Loss, Model, Objective, Progress
from vitruvius.space import hyper, one_of
from vitruvius.techniques.objectives.supervised import Supervised, answer_of


@dataclass(frozen=True)
class LogitAdjusted(Objective):
    """Cross-entropy in nats of logits + strength log(share of the class in training).

    Answers are the logits alone. With strength 1 they are right, in the limit, where all classes
    are equally frequent: what balanced accuracy and macro F1 look at. Tags of words and numbers
    have no such shares; for them it is Supervised.
    """

    strength: float = hyper(1.0, one_of(0.5, 1.0), "0 leaves the shares as they are, 1 undoes them")
    needs: ClassVar[tuple[str, ...]] = ("task", "documents")

    def check(self) -> None:
        if self.strength < 0:
            raise ValueError(
                f"LogitAdjusted.strength must not be negative; got {self.strength}. "
                "For no adjustment, take Supervised()."
            )

    def loss(
        self, model: Model, parts: nn.Module, seen: Corrupted, now: Progress, given: Given
    ) -> Loss:
        if given.task.level == "token" or not given.task.labels:
            return Supervised().loss(model, parts, seen, now, given)
        answer = answer_of(model, seen, given)
        adjusted = answer + self.strength * log_shares(given).to(answer)
        per_row = nn.functional.cross_entropy(adjusted, seen.targets["label"], reduction="none")
        return Loss(per_row.mean(), per_row)


def log_shares(given: Given) -> Float[Tensor, " C"]:
    """Of each class in training; one that is not there counts as if it were there once."""
    label = torch.from_numpy(np.asarray(given.documents.attributes["label"], np.int64))
    counts = torch.bincount(label, minlength=len(given.task.labels)).clamp(min=1)
    return (counts / counts.sum()).log()
