"""Train anew on all items of all tasks so far: the upper bound, which no continual learner may be.

Source: Cha & Cho 2025, "Hyperparameters in Continual Learning: A Reality Check", TMLR,
arXiv:2403.09066; Li & Hoiem 2016, "Learning without Forgetting", arXiv:1606.09282,
section 2 (joint training).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.contracts import Effort, Given, Learner, Learning, Lesson
from vitruvius.space import hyper
from vitruvius.techniques.learners.descent import Descent
from vitruvius.techniques.learners.growing import Growing


@dataclass(frozen=True)
class Joint(Learner):
    """Cross-entropy on everything that came, from the body's first weights again at each task.

    It keeps all items, whatever it may keep. The t-th task costs as much as t tasks.
    """

    descent: Descent = hyper(Descent(), Descent.space(), "how it trains at each task")

    def begin(self, body: nn.Module, memory: int, given: Given) -> Learning:
        return _Jointly(body, self.descent, given)


class _Jointly(Growing):
    def __init__(self, body: nn.Module, how: Descent, given: Given) -> None:
        super().__init__(body, how, given)
        self.first = copy.deepcopy(body.state_dict())
        self.items: list[Tensor] = []
        self.labels: list[Tensor] = []

    @property
    def kept(self) -> int:
        return sum(map(len, self.items))

    def pool(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        return (
            torch.cat([*self.items, lesson.inputs]),
            torch.cat([*self.labels, lesson.label]),
        )

    def learn(self, lesson: Lesson) -> Effort:
        self.body.load_state_dict(self.first)
        self.classifier = None
        effort = super().learn(lesson)
        self.items.append(lesson.inputs)
        self.labels.append(lesson.label)
        return effort

    def loss(self, logits: Tensor, label: Tensor, rows: Tensor) -> Tensor:
        return F.cross_entropy(logits, label)
