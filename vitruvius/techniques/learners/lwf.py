"""Learn a task while the answers to old ones stay as they were, without an old item.

Source: Li & Hoiem 2016, "Learning without Forgetting", arXiv:1606.09282, section 3 and figure 3.
Differs from the paper: old classes are compared in one softmax, not in one for each old task, since
no one says which task an item is of (LwF.MC of Rebuffi et al. 2017, arXiv:1611.07725); no epochs
that train the new rows alone; the answer is the largest of all logits.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.contracts import Given, Learner, Learning, Lesson
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.learners.descent import Descent
from vitruvius.techniques.learners.growing import Before, Growing, distilled


@dataclass(frozen=True)
class LwF(Learner):
    """CE(logits of the new classes) + strength KD(logits of the old ones; those before the task).

    KD is the cross-entropy of softmax(. / T). Before the first task it is plain training. Keeps no
    exemplars, whatever it may keep; holds a copy of the network during a task.
    """

    descent: Descent = hyper(Descent(), Descent.space(), "how it trains on a task")
    strength: float = hyper(1.0, log_uniform(0.1, 10.0), "weight of the old answers (lambda)")
    temperature: float = hyper(2.0, one_of(1.0, 2.0, 4.0), "divides logits in the old answers (T)")

    def check(self) -> None:
        if self.strength < 0 or self.temperature <= 0:
            raise ValueError(
                "LwF needs a temperature above 0 and no negative strength; "
                f"got temperature={self.temperature}, strength={self.strength}."
            )

    def begin(self, body: nn.Module, memory: int, given: Given) -> Learning:
        return _Distilled(body, self, given)


class _Distilled(Growing):
    def __init__(self, body: nn.Module, method: LwF, given: Given) -> None:
        super().__init__(body, method.descent, given)
        self.method = method
        self.before: Tensor | None = None

    def prepare(self, lesson: Lesson, inputs: Tensor) -> None:
        self.before = Before(self.body, self.head).logits(inputs)
        self.read += len(inputs)

    def finish(self, lesson: Lesson) -> None:
        self.before = None

    def loss(self, logits: Tensor, label: Tensor, rows: Tensor) -> Tensor:
        new = F.cross_entropy(logits[:, self.seen :], label - self.seen)
        if self.before is None:
            return new
        old = distilled(logits[:, : self.seen], self.before[rows], self.method.temperature)
        return new + self.method.strength * old
