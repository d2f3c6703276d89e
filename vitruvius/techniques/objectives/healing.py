"""Healing a thinner model: the task again, and what the model it was made from gives.

Source: Guo et al. 2024, "PELA: Learning parameter-efficient models with low-rank approximation",
arXiv:2310.10700, section 3.2, equations 4 to 8.
Differs from the paper: one pass of the thin model serves all terms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.contracts import (
    Batch,
    Corrupted,
    Given,
    Layout,
    Loss,
    Model,
    Objective,
    Outputs,
    Progress,
)
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.layers.factored import FactoredLinear
from vitruvius.techniques.objectives.supervised import Supervised


@dataclass(frozen=True)
class Healing(Objective):
    """task + features MSE(h) + logits MSE(z) + weights mean (max |W_2 W_1 - W| - margin)^2.

    h are the hidden states and the ``taps``, z the logits, each against those of the teacher, which
    is ``given.models["teacher"]`` in evaluation; W are its weights where the model has products of
    two. A pass of the teacher more; it has no gradient. The task is that of Supervised, in nats.
    """

    features: float = hyper(1.0, log_uniform(0.1, 10.0), "factor of the hidden states")
    logits: float = hyper(0.0, one_of(0.0, 0.1, 1.0), "factor of the logits")
    weights: float = hyper(
        0.0, one_of(0.0, 0.1, 1.0), "factor of the largest errors of the weights"
    )
    margin: float = hyper(0.001, one_of(0.0, 0.001, 0.01), "largest error that is aimed at")
    taps: tuple[str, ...] = hyper((), None, "hidden states that count too, such as 'layer.0'")
    task: Supervised = hyper(Supervised(), None, "the loss of the task itself")
    needs: ClassVar[tuple[str, ...]] = ("task", "models")

    def check(self) -> None:
        for name in ("features", "logits", "weights", "margin"):
            if getattr(self, name) < 0:
                raise ValueError(f"Healing.{name} must not be negative; got {getattr(self, name)}.")

    def loss(
        self, model: Model, parts: nn.Module, seen: Corrupted, now: Progress, given: Given
    ) -> Loss:
        teacher = given.models.get("teacher")
        if teacher is None:
            raise ValueError(
                "Healing needs the model that the thin one was made from: give it as "
                f"models['teacher']; there is {sorted(given.models) or 'none'}."
            )
        if "text" in seen.batch.streams and given.task.level == "pair":
            raise ValueError(
                "Healing reads one text of each item, and these are pairs. Take Supervised()."
            )
        stream = seen.batch.streams["input"]
        outputs = model.bodies["input"](stream, frozenset(self.taps))
        with torch.no_grad():
            wanted = teacher.bodies["input"](stream, frozenset(self.taps))
        task = self.task.loss(answering(model, outputs), parts, seen, now, given)
        assert task.per_row is not None
        rows = task.per_row
        terms = {"task": task.value.detach()}
        if self.features:
            pairs = [(outputs.hidden, wanted.hidden)]
            pairs += [(outputs.taps[name], wanted.taps[name]) for name in self.taps]
            apart = [distance(one, other, stream.layout) for one, other in pairs]
            found = torch.stack(apart).mean(0)
            rows, terms["features"] = rows + self.features * found, found.mean().detach()
        if self.logits:
            found = self._of_logits(model, teacher, outputs, wanted, seen.batch)
            rows, terms["logits"] = rows + self.logits * found, found.mean().detach()
        if self.weights:
            found = largest_errors(model, teacher, self.margin)
            rows, terms["weights"] = rows + self.weights * found, found.detach()
        return Loss(rows.mean(), rows, terms)

    def _of_logits(
        self, model: Model, teacher: Model, outputs: Outputs, wanted: Outputs, batch: Batch
    ) -> Float[Tensor, " B"]:
        mine = model.heads["task"](outputs, batch)
        with torch.no_grad():
            theirs = teacher.heads["task"](wanted, batch)
        if mine.shape != theirs.shape:
            raise ValueError(
                "Healing.logits compares answers of the same task; got "
                f"{list(mine.shape)} and {list(theirs.shape)} of the teacher. Set it to 0."
            )
        return (
            (mine - theirs).square().flatten(1).mean(1)
            if mine.ndim > 1
            else (mine - theirs).square()
        )


def answering(model: Model, outputs: Outputs) -> Model:
    """The model with what its body gave, so that a loss of it takes no second pass."""
    return replace(model, bodies={**model.bodies, "input": _Known(outputs)})


class _Known(nn.Module):
    def __init__(self, outputs: Outputs) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, stream: object, taps: frozenset[str] = frozenset()) -> Outputs:
        return self.outputs


def distance(one: Tensor, other: Tensor, layout: Layout) -> Float[Tensor, " B"]:
    """Mean squared difference of each row, over its own tokens where it has some."""
    each = (one - other).square()
    if each.ndim != 3 or layout.segments.shape != each.shape[:2]:
        return each.flatten(1).mean(1)
    real = (layout.segments > 0).to(each.dtype)
    return (each.mean(2) * real).sum(1) / real.sum(1).clamp(min=1)


def largest_errors(model: Model, teacher: Model, margin: float) -> Float[Tensor, ""]:
    """Mean over the products of (largest entry of |W_2 W_1 - W| - margin)^2; 0 without any."""
    found: list[Tensor] = []
    for stream, body in model.bodies.items():
        originals = dict(teacher.bodies[stream].named_modules())
        for path, part in body.named_modules():
            if isinstance(part, FactoredLinear):
                original = originals[path]
                assert isinstance(original, nn.Linear)
                error = (part.weight - original.weight.detach()).abs().amax()
                found.append((error - margin).square())
    return torch.stack(found).mean() if found else torch.zeros(())
