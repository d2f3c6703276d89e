"""Train on each task as it comes, with no regard to those before: the lower bound.

Source: Cha & Cho 2025, "Hyperparameters in Continual Learning: A Reality Check", TMLR,
arXiv:2403.09066; McCloskey & Cohen 1989, "Catastrophic interference in connectionist
networks", Psychology of Learning and Motivation 24.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.contracts import Given, Learner, Learning
from vitruvius.space import hyper
from vitruvius.techniques.learners.descent import Descent
from vitruvius.techniques.learners.growing import Growing


@dataclass(frozen=True)
class FineTuning(Learner):
    """Cross-entropy over all classes known so far, on the items of the task alone. Keeps no
    exemplars, whatever it may keep."""

    descent: Descent = hyper(Descent(), Descent.space(), "how it trains on a task")

    def begin(self, body: nn.Module, memory: int, given: Given) -> Learning:
        return _FineTuned(body, self.descent, given)


class _FineTuned(Growing):
    def loss(self, logits: Tensor, label: Tensor, rows: Tensor) -> Tensor:
        return F.cross_entropy(logits, label)
