"""A linear readout of the pooled hidden state.

Source: Lin, Chen & Yan 2014, "Network In Network", arXiv:1312.4400, section 3.2 (global average
pooling).
Differs from the paper: a linear layer follows the mean, so that any width will do; padding is left
out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vitruvius.contracts import Task
from vitruvius.techniques.heads.item import ItemHead, Rescale


@dataclass(frozen=True)
class Readout(ItemHead):
    """W mean(hidden) + b: the mean over tokens of [B T d], over places of [B d H W].

    (d + 1) classes parameters, or d + 1 for a number.
    """

    def build(self, hidden: Tensor, task: Task) -> nn.Module:
        if hidden.dim() < 2:
            raise ValueError(
                f"Readout needs [B, d], [B, T, d] or [B, d, H, W]; got {hidden.dim()} axis only. "
                "Leave out what takes the features away, or take Answer() as the head."
            )
        width = hidden.shape[-1] if hidden.dim() == 3 else hidden.shape[1]
        return LinearReadout(width, len(task.labels) or 1, None if task.labels else Rescale())


class LinearReadout(nn.Module):
    """A linear layer of what is pooled; numbers in the unit of the target."""

    def __init__(self, width: int, answers: int, rescale: nn.Module | None) -> None:
        super().__init__()
        self.width, self.answers, self.rescale = width, answers, rescale
        self.linear = nn.Linear(width, answers)

    def answer(self, hidden: Tensor, present: Tensor | None = None) -> Tensor:
        """``present`` [B T] is False at padding."""
        if hidden.dim() == 3 and present is not None:
            weight = present.to(hidden.dtype).unsqueeze(-1)
            hidden = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        elif hidden.dim() == 3:
            hidden = hidden.mean(1)
        elif hidden.dim() > 3:
            hidden = hidden.flatten(2).mean(2)
        answer = self.linear(hidden)
        return answer if self.rescale is None else self.rescale(answer.squeeze(-1))

    def forward(self, outputs: Any, batch: Any = None) -> Tensor:
        hidden, present = outputs.hidden, None
        if batch is not None and hidden.dim() == 3:
            segments = batch.streams["input"].layout.segments
            if segments.shape == hidden.shape[:2]:
                present = segments != 0
        return self.answer(hidden, present)
