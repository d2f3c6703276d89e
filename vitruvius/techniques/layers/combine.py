"""Several inputs made one: sum, mean, or concatenation of channels.

Source: Negrinho et al. 2019, "Towards modular and programmable architecture search",
arXiv:1909.13404, section 3 (``combine`` of ``split_combine`` and ``residual``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitruvius.contracts import Join
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.shapes import channel_axis, need_option, written


@dataclass(frozen=True)
class Combine(Join):
    """y = the sum or mean of all inputs, or their channels one after the other.

    No parameters; one addition for each number of each input but the first.
    """

    how: str = hyper("sum", one_of("sum", "mean", "concat"), "what becomes of the inputs")

    def check(self) -> None:
        need_option(self, "how", "sum", "mean", "concat")

    def build(self, x: Tensor, *others: Tensor) -> nn.Module:
        return combination(self.how, (x, *others))


def combination(how: str, inputs: tuple[Tensor, ...]) -> nn.Module:
    """The module that combines inputs of these shapes. Raises ValueError where they differ."""
    axis = channel_axis(inputs[0])
    shapes = {tuple(x.shape) for x in inputs}
    if how == "concat":
        shapes = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(shapes) > 1:
        given = ", ".join(map(written, inputs))
        if how == "concat":
            raise ValueError(
                f"concat needs shapes that are equal but for the channels; got {given}. "
                "Give all paths the same strides and padding='same'."
            )
        raise ValueError(
            f"{how} needs equal shapes; got {given}. Give all paths the same strides and width, "
            "or use 'concat' where only the channels differ."
        )
    return _Combined(how, axis)


class _Combined(nn.Module):
    def __init__(self, how: str, axis: int) -> None:
        super().__init__()
        self.how = how
        self.axis = axis

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.how == "concat":
            return torch.cat(inputs, self.axis)
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return total / len(inputs) if self.how == "mean" else total
