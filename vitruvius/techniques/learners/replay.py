"""Train on the new items together with the exemplars of old classes.

Source: Chaudhry et al. 2019, "On Tiny Episodic Memories in Continual Learning", arXiv:1902.10486,
section 3; as the baseline "Replay" of Cha & Cho 2025, arXiv:2403.09066.
Differs from the paper: several passes over a task, whose limits are known.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.contracts import Given, Learner, Learning
from vitruvius.space import hyper, one_of
from vitruvius.techniques.learners.descent import Descent
from vitruvius.techniques.learners.exemplars import Memory, need_choice
from vitruvius.techniques.learners.growing import Growing


@dataclass(frozen=True)
class Replay(Learner):
    """Cross-entropy over all classes known so far, on new items and exemplars."""

    descent: Descent = hyper(Descent(), Descent.space(), "how it trains on a task")
    exemplars: str = hyper(
        "herding", one_of("herding", "random"), "how those that are kept are chosen"
    )
    share: float | None = hyper(
        None,
        one_of(None, 0.25, 0.5, 0.75),
        "share of each batch that exemplars fill; None: they are as many as they are",
    )

    def check(self) -> None:
        need_choice(self, self.exemplars)
        if self.share is not None and not 0 < self.share < 1:
            raise ValueError(
                f"Replay.share is a share of a batch above 0 and below 1; got {self.share}. "
                "To mix exemplars in as they are, leave it None."
            )

    def begin(self, body: nn.Module, memory: int, given: Given) -> Learning:
        kept = Memory(memory, self.exemplars, given.rng)
        return _Replayed(body, self.descent, given, kept, self.share)


class _Replayed(Growing):
    def loss(self, logits: Tensor, label: Tensor, rows: Tensor) -> Tensor:
        return F.cross_entropy(logits, label)
