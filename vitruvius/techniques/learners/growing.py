"""A network whose classifier grows with the tasks, trained by descent: what most learners are."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.contracts import Effort, Given, Learning, Lesson, Outputs, Stream
from vitruvius.contracts.learners import AT_ONCE
from vitruvius.techniques.learners.descent import Descent, descend
from vitruvius.techniques.learners.exemplars import Memory


class Classifier(nn.Module):
    """logits = W hidden + b [B classes], of as many classes as are known."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.empty(0, width))
        self.bias = nn.Parameter(torch.empty(0))

    def grow(self, classes: int, rng: torch.Generator) -> None:
        """More rows, drawn from U(-1/sqrt(width), 1/sqrt(width)); the old ones stay as they are."""
        more, bound = classes - len(self.weight), self.width**-0.5
        drawn = torch.empty(more, self.width + 1).uniform_(-bound, bound, generator=rng)
        drawn = drawn.to(self.weight)
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), drawn[:, :-1]]))
        self.bias = nn.Parameter(torch.cat([self.bias.detach(), drawn[:, -1]]))

    def forward(self, outputs: Outputs, batch: Any = None) -> Tensor:
        return F.linear(outputs.hidden, self.weight, self.bias)


class Growing(Learning):
    """Grows the classifier, trains on its pool of items, then chooses exemplars."""

    seen: int
    """Classes that came before the task at hand."""

    def __init__(
        self,
        body: nn.Module,
        how: Descent,
        given: Given,
        memory: Memory | None = None,
        share: float | None = None,
    ) -> None:
        self.body, self.how, self.rng = body, how, given.rng
        self.memory, self.share = memory, share
        self.classifier: Classifier | None = None
        self.read = self.seen = 0

    @property
    def head(self) -> nn.Module:
        if self.classifier is None:
            raise ValueError("A learner answers after its first task: call learn() before.")
        return self.classifier

    @property
    def kept(self) -> int:
        return 0 if self.memory is None else len(self.memory)

    @abstractmethod
    def loss(
        self,
        logits: Float[Tensor, "B classes"],
        label: Int[Tensor, " B"],
        rows: Int[Tensor, " B"],
    ) -> Float[Tensor, ""]:
        """Of a batch of the pool, in nats; ``rows`` are positions in it."""

    def pool(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """What it trains on in a task: items [N ...] and classes [N]. Exemplars come last."""
        if self.memory is None:
            return lesson.inputs, lesson.label
        items, label = self.memory.all(lesson)
        return torch.cat([lesson.inputs, items]), torch.cat([lesson.label, label])

    def prepare(self, lesson: Lesson, inputs: Tensor) -> None:
        """Called with the pool, before the classifier grows."""

    def clamp(self) -> None:
        """Called behind each step."""

    def finish(self, lesson: Lesson) -> None:
        """Called behind the training, before exemplars are chosen."""

    def learn(self, lesson: Lesson) -> Effort:
        self.read, self.seen = 0, lesson.seen
        inputs, label = self.pool(lesson)
        if self.classifier is None:
            width = self.features(inputs[:2]).shape[1]
            classifier = self.classifier = Classifier(width).to(inputs.device)
        else:
            classifier = self.classifier
            self.prepare(lesson, inputs)
        classifier.grow(lesson.classes, self.rng)
        trained = self._train(inputs, label, self.kept)
        self.finish(lesson)
        if self.memory is not None:
            self.read += self.memory.keep(lesson, self.features)
        return Effort(trained, self.read)

    def _train(self, inputs: Tensor, label: Tensor, old: int) -> int:
        body, classifier = self.body, self.head

        def loss(rows: Tensor) -> Tensor:
            at = rows.to(inputs.device)
            return self.loss(classifier(body(Stream(inputs[at]))), label[at], at)

        return descend(
            self.how,
            (body, classifier),
            loss,
            len(inputs),
            self.rng,
            old=old,
            share=self.share,
            after=self.clamp,
        )

    def features(self, inputs: Tensor) -> Tensor:
        """Of the body, in evaluation and without gradient. [N d]"""
        return features(self.body, inputs)


def features(body: nn.Module, inputs: Tensor) -> Float[Tensor, "N d"]:
    """Hidden vectors of a body, in evaluation and without gradient."""
    was = [(module, module.training) for module in body.modules()]
    body.eval()
    with torch.no_grad():
        found = [body(Stream(part)).hidden for part in inputs.split(AT_ONCE)]
    for module, training in was:
        module.training = training
    if found[0].dim() != 2:
        shape = ", ".join(["B", *map(str, found[0].shape[1:])])
        raise ValueError(
            f"A learner of tasks needs a body that gives [B, d]; got [{shape}]. "
            "End the network in GlobalAveragePool() or Flatten()."
        )
    return torch.cat(found)


class Before:
    """A network as it was before a task: what distillation compares with."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        self.body, self.head = copy.deepcopy(body), copy.deepcopy(head)

    def logits(self, inputs: Tensor) -> Float[Tensor, "N classes"]:
        """Its answers, in evaluation: computed once, since items are shown unchanged."""
        with torch.no_grad():
            return self.head(Outputs(features(self.body, inputs)))


def distilled(
    logits: Float[Tensor, "B classes"], before: Float[Tensor, "B classes"], temperature: float
) -> Float[Tensor, ""]:
    """- sum_c softmax(before / T)_c log softmax(logits / T)_c, mean over the batch, in nats.

    Hinton et al. 2015, arXiv:1503.02531, without the factor T^2, as LwF and WA have it.
    """
    soft = (before / temperature).softmax(1)
    return -(soft * (logits / temperature).log_softmax(1)).sum(1).mean()
