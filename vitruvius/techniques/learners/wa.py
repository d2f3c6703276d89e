"""Replay with distillation, and new rows of the classifier brought to the length of old ones.

Source: Zhao et al. 2020, "Maintaining Discrimination and Fairness in Class Incremental Learning",
CVPR, arXiv:1911.07053, sections 3 and 4; strengths beside the paper's rule are those of Cha & Cho
2025, arXiv:2403.09066.
Differs from the paper: the classifier has a bias, which is not aligned (as in PyCIL).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.contracts import Given, Learner, Learning, Lesson
from vitruvius.space import hyper, one_of
from vitruvius.techniques.learners.descent import Descent
from vitruvius.techniques.learners.exemplars import Memory, need_choice
from vitruvius.techniques.learners.growing import Before, Growing, distilled


@dataclass(frozen=True)
class WA(Learner):
    """(1 - l) CE(all logits) + l KD(old logits; those before the task), l = old / (old + new)
    classes, on new items and exemplars; then w_new *= mean |w_old| / mean |w_new|.

    With a number as the strength the loss is CE + strength KD. Old rows stay as they are, bit for
    bit. ``align=False`` is the paper's baseline "KD": replay with distillation.
    """

    descent: Descent = hyper(Descent(), Descent.space(), "how it trains on a task")
    exemplars: str = hyper(
        "herding", one_of("herding", "random"), "how those that are kept are chosen"
    )
    strength: float | None = hyper(
        None,
        one_of(None, 0.5, 1.0, 1.5, 2.0, 3.0),
        "weight of the old answers; None: as the classes are many",
    )
    temperature: float = hyper(
        2.0, one_of(0.5, 1.0, 1.5, 2.0, 2.5), "divides logits in the old answers (T)"
    )
    align: bool = hyper(True, one_of(True, False), "whether new rows are brought to length")
    positive: bool = hyper(
        False,
        one_of(False, True),
        "whether weights of the classifier are cut off at 0 behind each step, so that their length "
        "tells of logits; wants a body that ends in ReLU",
    )

    def check(self) -> None:
        need_choice(self, self.exemplars)
        if (self.strength or 0) < 0 or self.temperature <= 0:
            raise ValueError(
                "WA needs a temperature above 0 and no negative strength; "
                f"got temperature={self.temperature}, strength={self.strength}."
            )

    def begin(self, body: nn.Module, memory: int, given: Given) -> Learning:
        return _Aligned(body, self, given, Memory(memory, self.exemplars, given.rng))


class _Aligned(Growing):
    def __init__(self, body: nn.Module, method: WA, given: Given, memory: Memory) -> None:
        super().__init__(body, method.descent, given, memory)
        self.method = method
        self.before: Tensor | None = None

    def prepare(self, lesson: Lesson, inputs: Tensor) -> None:
        self.before = Before(self.body, self.head).logits(inputs)
        self.read += len(inputs)

    def clamp(self) -> None:
        if self.method.positive and self.classifier is not None:
            with torch.no_grad():
                self.classifier.weight.clamp_(min=0)

    def finish(self, lesson: Lesson) -> None:
        self.before = None
        if self.method.align and lesson.seen and self.classifier is not None:
            self.classifier.weight.data = aligned(self.classifier.weight.data, lesson.seen)

    def loss(self, logits: Tensor, label: Tensor, rows: Tensor) -> Tensor:
        new = F.cross_entropy(logits, label)
        if self.before is None:
            return new
        old = distilled(logits[:, : self.seen], self.before[rows], self.method.temperature)
        if self.method.strength is None:
            weight = self.seen / logits.shape[1]
            return (1 - weight) * new + weight * old
        return new + self.method.strength * old


def aligned(weight: Float[Tensor, "classes d"], old: int) -> Float[Tensor, "classes d"]:
    """The rows behind the first ``old`` times mean |old rows| / mean |new rows|."""
    lengths = weight.norm(dim=1)
    factor = lengths[:old].mean() / lengths[old:].mean().clamp(min=1e-12)
    return torch.cat([weight[:old], weight[old:] * factor])
