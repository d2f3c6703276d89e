"""A vector of length 1 for each text, so that a product of two is their cosine.

Source: Reimers & Gurevych 2019, "Sentence-BERT", arXiv:1908.10084, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Batch, Given, Head, Model, Predictions, Task
from vitruvius.space import hyper, one_of
from vitruvius.techniques.heads.pooling import Pool, check_pool, present_of, width_of


@dataclass(frozen=True)
class Embedding(Head):
    """P h / |P h| with h the pooled hidden state; without ``width``, h / |h| and no parameters.

    A map that a model has as its head "projector" (contrastive training leaves one) is its P.
    """

    pool: str = hyper("mean", one_of("cls", "mean", "last"), "first token, mean, or last token")
    width: int | None = hyper(None, one_of(None, 64, 128, 256), "features; None: those of hidden")

    def check(self) -> None:
        check_pool(self)
        if self.width is not None and self.width < 1:
            raise ValueError(f"Embedding.width must be at least 1; got {self.width}.")

    def build(self, hidden: Tensor, task: Task) -> nn.Module:
        features = width_of(self, hidden)
        project = None if self.width is None else nn.Linear(features, self.width, bias=False)
        return Embedded(Pool(self.pool), project)

    def predict(self, model: Model, batch: Batch, given: Given) -> Predictions:
        """Vectors [B d] of the stream "input", from the head "task" where it is one of these."""
        outputs = model.bodies["input"](batch.streams["input"])
        module = model.heads.get("task")
        if not isinstance(module, Embedded):
            module = Embedded(Pool(self.pool), model.heads.get("projector"))
        return Predictions(module(outputs, batch), batch.fields.get("label"), batch.rows)


class Embedded(nn.Module):
    """Pool, perhaps a map, then length 1."""

    def __init__(self, pool: nn.Module, project: nn.Module | None) -> None:
        super().__init__()
        self.pool, self.project = pool, project

    def answer(self, hidden: Tensor, present: Tensor | None = None) -> Tensor:
        """``present`` [B T] is False at padding."""
        pooled = self.pool(hidden, present)
        if self.project is not None:
            pooled = self.project(pooled)
        return torch.nn.functional.normalize(pooled.float(), dim=-1)

    def forward(self, outputs: Any, batch: Any = None) -> Tensor:
        return self.answer(outputs.hidden, present_of(outputs.hidden, batch))
