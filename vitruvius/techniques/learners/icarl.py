"""Learn a representation by replay and distillation; answer by the nearest mean of exemplars.

Source: Rebuffi et al. 2017, "iCaRL: Incremental Classifier and Representation Learning",
arXiv:1611.07725, algorithms 1 to 5.
Differs from the paper: the number of exemplars of a class is fixed, as Cha & Cho 2025
(arXiv:2403.09066) arrange it, not shared out of a fixed whole; the loss is a mean over items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.contracts import Effort, Given, Learner, Learning, Lesson, Outputs
from vitruvius.space import hyper
from vitruvius.techniques.learners.descent import Descent
from vitruvius.techniques.learners.exemplars import Memory
from vitruvius.techniques.learners.growing import Before, Growing


@dataclass(frozen=True)
class ICaRL(Learner):
    """Binary cross-entropy, summed over classes: with the label for new classes, with the sigmoid
    before the task for old ones; on new items and herded exemplars.

    The answer is the class whose exemplars' mean is nearest: features and means have length 1, and
    means are taken anew, with the features of now, after each task.
    """

    descent: Descent = hyper(Descent(), Descent.space(), "how it trains on a task")

    def begin(self, body: nn.Module, memory: int, given: Given) -> Learning:
        if memory < 1:
            raise ValueError(
                f"ICaRL answers by its exemplars and needs at least 1 of each class; got {memory}. "
                "Give the scenario a memory, or take LwF."
            )
        return _ByMeans(body, self.descent, given, Memory(memory, "herding", given.rng))


class NearestMean(nn.Module):
    """- | h / |h| - mean |^2 of each class, [B classes]."""

    means: Tensor

    def __init__(self, means: Tensor) -> None:
        super().__init__()
        self.register_buffer("means", means)

    def forward(self, outputs: Outputs, batch: Any = None) -> Tensor:
        h = F.normalize(outputs.hidden, dim=1)
        return -torch.cdist(h, self.means).square()


class _ByMeans(Growing):
    before: Tensor | None = None
    nearest: NearestMean | None = None

    @property
    def head(self) -> nn.Module:
        return super().head if self.nearest is None else self.nearest

    def prepare(self, lesson: Lesson, inputs: Tensor) -> None:
        assert self.classifier is not None
        self.before = Before(self.body, self.classifier).logits(inputs).sigmoid()
        self.read += len(inputs)

    def learn(self, lesson: Lesson) -> Effort:
        self.nearest = None
        effort = super().learn(lesson)
        self.before = None
        assert self.memory is not None
        found = [means(self.features(x)) for _, x in sorted(self.memory.items.items())]
        self.nearest = NearestMean(torch.cat(found))
        return Effort(effort.trained, effort.read + self.kept)

    def loss(self, logits: Tensor, label: Tensor, rows: Tensor) -> Tensor:
        wanted = F.one_hot(label, logits.shape[1]).to(logits.dtype)
        if self.before is not None:
            wanted = torch.cat([self.before[rows], wanted[:, self.seen :]], 1)
        whole = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        return whole / len(logits)


def means(features: Float[Tensor, "N d"]) -> Float[Tensor, "1 d"]:
    """The mean of vectors of length 1, brought to length 1."""
    return F.normalize(F.normalize(features, dim=1).mean(0, keepdim=True), dim=1)
