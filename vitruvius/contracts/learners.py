"""The role of what learns one task after another, and of how tasks come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vitruvius.contracts.batches import Stream
from vitruvius.contracts.documents import Documents
from vitruvius.contracts.given import Given
from vitruvius.contracts.records import State
from vitruvius.contracts.roles import Technique

AT_ONCE = 1024  # items that are only read


@dataclass(frozen=True)
class Scenario(Technique):
    """The same arrangement of whatever data: tasks, splits, what may be kept.

    What must agree between two families of data is told in ``fitted["scenario"].values``.
    """

    @abstractmethod
    def arrange(self, documents: Documents, order: int) -> State:
        """What comes before a design: task, splits "train" and "validation". ``order`` is the seed
        of all that is drawn; the same items are held out in every order."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """The items of one task. Its classes are ``seen``, ``seen + 1``, ... up to ``classes``."""

    inputs: Tensor
    """[N ...], as the body reads them."""
    label: Int[Tensor, " N"]
    """Classes in the order in which they come, from 0."""
    seen: int
    """Classes that came before."""
    classes: int
    """Classes that are known after it."""


@dataclass(frozen=True)
class Effort:
    """What a lesson took: items, with repetition."""

    trained: int = 0
    """Forward and backward."""
    read: int = 0
    """Forward alone."""
    flops: float = 0.0
    """Beside those of body and classifier: solving, projecting."""


class Learning(ABC):
    """A learner under way. It may hold exemplars, and no other item of an earlier lesson, unless it
    is an upper bound that says so."""

    body: nn.Module
    """Called with a Stream; hidden is [B d]."""

    @property
    @abstractmethod
    def head(self) -> nn.Module:
        """Maps (outputs, batch) to scores [B classes] of all classes known so far."""

    @property
    def kept(self) -> int:
        """Exemplars that it holds."""
        return 0

    @abstractmethod
    def learn(self, lesson: Lesson) -> Effort:
        """Learn a task. Body and head change in place."""

    def answer(self, inputs: Tensor) -> Tensor:
        """Scores [N classes]; the largest is the answer."""
        found = []
        modes = [(m, m.training) for part in (self.body, self.head) for m in part.modules()]
        self.body.eval()
        self.head.eval()
        with torch.no_grad():
            for part in inputs.split(AT_ONCE):
                found.append(self.head(self.body(Stream(part)), None))
        for module, was in modes:
            module.training = was
        return torch.cat(found)


@dataclass(frozen=True)
class Learner(Technique):
    """Learns task after task, each with classes of its own, and answers for all so far."""

    needs: ClassVar[tuple[str, ...]] = ("rng",)

    @abstractmethod
    def begin(self, body: nn.Module, memory: int, given: Given) -> Learning:
        """Before the first task. The body is its own to change; ``memory`` are the exemplars of
        each class that it may keep. All it draws comes from ``given.rng``, on the CPU."""
