"""The network's own output as the answer.

Source: Negrinho & Gordon 2017, "DeepArchitect", arXiv:1704.08792, section 4: a space ends in an
affine layer of as many features as there are classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vitruvius.contracts import Task
from vitruvius.techniques.heads.item import ItemHead, Rescale


@dataclass(frozen=True)
class Answer(ItemHead):
    """logits = hidden [B classes], or number = std hidden + mean of [B 1] or [B].

    No parameters. The network itself must end in that many features.
    """

    def build(self, hidden: Tensor, task: Task) -> nn.Module:
        shape, width = list(hidden.shape), len(task.labels) or 1
        numbers = not task.labels
        if shape[1:] != [width] and not (numbers and len(shape) == 1):
            what = "a number" if numbers else f"{width} classes"
            got = ", ".join(["B", *map(str, shape[1:])])
            raise ValueError(
                f"Answer needs [B, {width}] for {what}; got [{got}]. "
                f"End the network in Affine({width}), or take Readout() as the head."
            )
        return Direct(Rescale() if numbers else None)


class Direct(nn.Module):
    """What the body gives, in the unit of the target where it is a number."""

    def __init__(self, rescale: nn.Module | None) -> None:
        super().__init__()
        self.rescale = rescale

    def answer(self, hidden: Tensor) -> Tensor:
        if self.rescale is None:
            return hidden
        return self.rescale(hidden.flatten())

    def forward(self, outputs: Any, batch: Any = None) -> Tensor:
        return self.answer(outputs.hidden)
