"""Learning from labels.

Source: Bishop 2006, "Pattern Recognition and Machine Learning", sections 4.3.4 and 3.1.1; label
smoothing from Szegedy et al. 2016, arXiv:1512.00567, section 7.
Differs from the paper: numbers are compared in units of their standard deviation, so that a
learning rate means the same whatever the unit of the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from vitruvius.contracts import Corrupted, Given, Loss, Model, Objective, Progress
from vitruvius.space import hyper, one_of


@dataclass(frozen=True)
class Supervised(Objective):
    """Cross-entropy in nats of classes; squared error of numbers, in standard deviations squared.

    Smoothing s gives each class s / classes and the right one 1 - s more. It does nothing to
    numbers.
    """

    label_smoothing: float = hyper(
        0.0, one_of(0.0, 0.05, 0.1, 0.2), "probability that is spread over all classes"
    )
    needs: ClassVar[tuple[str, ...]] = ("task",)

    def check(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                "Supervised.label_smoothing must be at least 0 and below 1; "
                f"got {self.label_smoothing}."
            )

    def loss(
        self, model: Model, parts: nn.Module, seen: Corrupted, now: Progress, given: Given
    ) -> Loss:
        head = model.heads["task"]
        outputs = model.bodies["input"](seen.batch.streams["input"])
        answer, label = head(outputs, seen.batch), seen.targets["label"]
        if given.task.labels:
            per_row = nn.functional.cross_entropy(
                answer, label, reduction="none", label_smoothing=self.label_smoothing
            )
        else:
            rescale = getattr(head, "rescale", None)
            per_row = squared_error(answer, label, None if rescale is None else rescale.std)
        weight = seen.weight.get("label")
        if weight is not None:
            per_row = per_row * (weight / weight.mean())
        return Loss(per_row.mean(), per_row)


def squared_error(answer: Tensor, label: Tensor, unit: Tensor | None) -> Tensor:
    """[B] mean over the numbers of an item, in units where one is given."""
    if answer.shape != label.shape:
        raise ValueError(
            f"Supervised compares answers with labels of the same shape; got "
            f"{list(answer.shape)} and {list(label.shape)}. End the network in Affine(1), or take "
            "Readout() as the head."
        )
    error = answer - label if unit is None else (answer - label) / unit
    return error.square().flatten(1).mean(1) if error.ndim > 1 else error.square()
