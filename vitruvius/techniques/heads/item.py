"""What heads with one answer for each item share: the scale of numbers, and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vitruvius.contracts import Batch, Fitted, Given, Head, Model, Predictions


@dataclass(frozen=True)
class ItemHead(Head):
    """One answer for each item: logits [B classes], or a number [B] in the unit of the target."""

    needs: ClassVar[tuple[str, ...]] = ("task", "documents")

    def fit(self, given: Given) -> Fitted | None:
        """Mean and standard deviation of the target; nothing for classes."""
        if given.task.labels:
            return None
        label = np.asarray(given.documents.attributes["label"], dtype=np.float64)
        std = float(label.std())
        return Fitted(
            {
                "rescale.mean": torch.tensor(float(label.mean())),
                "rescale.std": torch.tensor(std if std > 0 else 1.0),
            }
        )

    def predict(self, model: Model, batch: Batch, given: Given) -> Predictions:
        """Probabilities of classes, or numbers."""
        outputs = model.bodies["input"](batch.streams["input"])
        answer = model.heads["task"](outputs, batch).float()
        values = answer.softmax(-1) if given.task.labels else answer
        return Predictions(values, batch.fields.get("label"), batch.rows)


class Rescale(nn.Module):
    """From standard deviations around the mean to the unit of the target: x std + mean."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def reset_parameters(self) -> None:
        self.mean.zero_()
        self.std.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        return x.float() * self.std + self.mean
