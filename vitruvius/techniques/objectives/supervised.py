"""Learning from labels.

Source: Bishop 2006, "Pattern Recognition and Machine Learning", sections 4.3.4 and 3.1.1; label
smoothing from Szegedy et al. 2016, arXiv:1512.00567, section 7.
Differs from the paper: numbers are compared in units of their standard deviation, so that a
learning rate means the same whatever the unit of the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from vitruvius.contracts import Corrupted, Given, Layout, Loss, Model, Objective, Progress
from vitruvius.space import hyper, one_of


@dataclass(frozen=True)
class Supervised(Objective):
    """Cross-entropy in nats of classes; squared error of numbers, in standard deviations squared.

    Smoothing s gives each class s / classes and the right one 1 - s more. It does nothing to
    numbers. Of words (a task of level "token") the mean over those that are in a row; of pairs
    (level "pair" and a stream "text") both texts are read.
    """

    label_smoothing: float = hyper(
        0.0, one_of(0.0, 0.05, 0.1, 0.2), "probability that is spread over all classes"
    )
    needs: ClassVar[tuple[str, ...]] = ("task",)

    def check(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                "Supervised.label_smoothing must be at least 0 and below 1; "
                f"got {self.label_smoothing}."
            )

    def loss(
        self, model: Model, parts: nn.Module, seen: Corrupted, now: Progress, given: Given
    ) -> Loss:
        label, streams = seen.targets["label"], seen.batch.streams
        answer = answer_of(model, seen, given)
        if given.task.level == "token":
            per_row = word_entropy(answer, label, streams["input"].layout, self.label_smoothing)
        elif given.task.labels:
            per_row = nn.functional.cross_entropy(
                answer, label, reduction="none", label_smoothing=self.label_smoothing
            )
        else:
            rescale = getattr(model.heads["task"], "rescale", None)
            per_row = squared_error(answer, label, None if rescale is None else rescale.std)
        weight = seen.weight.get("label")
        if weight is not None:
            per_row = per_row * (weight / weight.mean())
        return Loss(per_row.mean(), per_row)


def answer_of(model: Model, seen: Corrupted, given: Given) -> Tensor:
    """What the head "task" says of each item; of pairs both texts are read."""
    head, streams = model.heads["task"], seen.batch.streams
    outputs = model.bodies["input"](streams["input"])
    if given.task.level == "pair" and "text" in streams:
        other = model.bodies.get("text", model.bodies["input"])(streams["text"])
        return head(outputs, seen.batch, other)
    return head(outputs, seen.batch)


def word_entropy(answer: Tensor, label: Tensor, layout: Layout, smoothing: float) -> Tensor:
    """[B] that of logits [B T classes] at the first piece of each word, label [B W] of word w.

    The mean over rows is that over words, nats.
    """
    first, words = layout.first_pieces, layout.words
    assert words is not None
    at = label.gather(1, words.clamp(0, label.shape[1] - 1))
    of_piece = nn.functional.cross_entropy(
        answer.transpose(1, 2), at, reduction="none", label_smoothing=smoothing
    )
    counts = first.sum(1).to(of_piece.dtype)
    return (of_piece * first).sum(1) / counts.mean().clamp(min=1e-9)


def squared_error(answer: Tensor, label: Tensor, unit: Tensor | None) -> Tensor:
    """[B] mean over the numbers of an item, in units where one is given."""
    if answer.shape != label.shape:
        raise ValueError(
            f"Supervised compares answers with labels of the same shape; got "
            f"{list(answer.shape)} and {list(label.shape)}. End the network in Affine(1), or take "
            "Readout() as the head."
        )
    error = answer - label if unit is None else (answer - label) / unit
    return error.square().flatten(1).mean(1) if error.ndim > 1 else error.square()
