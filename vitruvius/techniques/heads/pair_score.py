"""An answer from the vectors of two texts, each read alone.

Source: Reimers & Gurevych 2019, "Sentence-BERT", arXiv:1908.10084, section 3; the features of
a pair from Conneau et al. 2017, "InferSent", arXiv:1705.02364, section 3.1.
Differs from the paper: their product is among the features, as in InferSent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Batch, Given, Model, Predictions, Task
from vitruvius.space import hyper, one_of
from vitruvius.techniques.heads.item import ItemHead, Rescale
from vitruvius.techniques.heads.pooling import Pool, check_pool, present_of, width_of


@dataclass(frozen=True)
class PairScore(ItemHead):
    """W [u, v, |u - v|, u v] + b of pooled u and v; or, of numbers, a cos(u, v) + b.

    Batches hold the streams "input" and "text"; both are read by one body where the model has no
    second. To read two texts together, put them into one row and take PooledReadout().
    """

    pool: str = hyper("mean", one_of("cls", "mean", "last"), "first token, mean, or last token")
    cosine: bool = hyper(False, one_of(False, True), "numbers from the cosine alone")

    def check(self) -> None:
        check_pool(self)

    def build(self, hidden: Tensor, task: Task) -> nn.Module:
        width = width_of(self, hidden)
        if self.cosine and not task.labels:
            return PairAnswer(Pool(self.pool), nn.Linear(1, 1), Rescale())
        linear = nn.Linear(4 * width, len(task.labels) or 1)
        return PairAnswer(Pool(self.pool), linear, None if task.labels else Rescale())

    def predict(self, model: Model, batch: Batch, given: Given) -> Predictions:
        """Probabilities of classes, or numbers, of each pair."""
        one = model.bodies["input"](batch.streams["input"])
        other = None
        if "text" in batch.streams:
            body = model.bodies.get("text", model.bodies["input"])
            other = body(batch.streams["text"])
        answer = model.heads["task"](one, batch, other).float()
        values = answer.softmax(-1) if given.task.labels else answer
        return Predictions(values, batch.fields.get("label"), batch.rows)


class PairAnswer(nn.Module):
    """Features of two pooled vectors, linear; numbers in the unit of the target.

    Without a second text, the first is compared with itself.
    """

    def __init__(self, pool: nn.Module, linear: nn.Module, rescale: nn.Module | None) -> None:
        super().__init__()
        self.pool, self.linear, self.rescale = pool, linear, rescale

    def answer(self, u: Tensor, v: Tensor) -> Tensor:
        """Of vectors [B d]."""
        if self.linear.in_features == 1 and self.rescale is not None:
            features = torch.nn.functional.cosine_similarity(u, v, dim=-1).unsqueeze(-1)
        else:
            features = torch.cat([u, v, (u - v).abs(), u * v], -1)
        answer = self.linear(features)
        return answer if self.rescale is None else self.rescale(answer.squeeze(-1))

    def forward(self, outputs: Any, batch: Any = None, other: Any = None) -> Tensor:
        u = self.pool(outputs.hidden, present_of(outputs.hidden, batch))
        if other is None:
            return self.answer(u, u)
        v = self.pool(other.hidden, present_of(other.hidden, batch, "text"))
        return self.answer(u, v)
