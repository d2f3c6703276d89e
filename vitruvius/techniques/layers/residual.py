"""Residual connection.

Source: He et al. 2016, "Deep residual learning for image recognition", arXiv:1512.03385, section
3.2, shortcuts A ("zeros") and B ("project"); as a part of spaces Negrinho & Gordon 2017,
"DeepArchitect", arXiv:1704.08792, section 4.
Differs from DeepArchitect: only channels are padded. Padding an image at its end would add cells of
different places, so a body that cuts cells off without a stride is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.identity import Identity
from vitruvius.techniques.layers.shapes import (
    Composite,
    Unfit,
    channel_axis,
    grow,
    need_layers,
    need_option,
    place_axes,
    written,
)

WIDER = 16  # times the places, to tell a stride from cells that are cut off


@dataclass(frozen=True)
class Residual(Composite):
    """y = f(x) + s(x), where s is the identity when f keeps the shape.

    Else "zeros" takes every stride-th place and pads whichever of the two has fewer channels with
    zeros (no parameters); "project" is a linear map of the channels at every stride-th place
    (channels in * channels out parameters).
    """

    body: Layer = hyper(..., None, "f, a layer")
    shortcut: str = hyper("zeros", one_of("zeros", "project"), "s, where shapes differ")

    @classmethod
    def example(cls) -> Residual:
        return cls(Identity())

    def check(self) -> None:
        need_layers(self, "body")
        need_option(self, "shortcut", "zeros", "project")

    def assemble(self, x: Tensor) -> tuple[nn.Module, Tensor]:
        body, output = grow(self.body, x, address="body")
        if output.dim() != x.dim():
            raise ValueError(
                f"Residual.body must keep the rank; it turns {written(x)} into {written(output)}. "
                "Put the layer that flattens after the Residual."
            )
        strides = self._strides(x, output)
        axis = channel_axis(x)
        channels, filters = x.shape[axis], output.shape[axis]
        if self.shortcut == "project" and output.shape != x.shape:
            return _ResidualSum(body, _projection(x.dim(), channels, filters, strides)), output
        shortcut: nn.Module = _Subsample(strides) if max(strides) > 1 else nn.Identity()
        if filters > channels:
            pad = _PadChannels(filters - channels, axis)
            shortcut = nn.Sequential(shortcut, pad) if max(strides) > 1 else pad
        elif filters < channels:
            pad = _PadChannels(channels - filters, axis)
            body, output = nn.Sequential(body, pad), pad(output)
        return _ResidualSum(body, shortcut), output

    def _strides(self, x: Tensor, output: Tensor) -> tuple[int, ...]:
        """The stride of each axis of x at which the body looks.

        It must give the body's size for x and for a wider input: a body without padding can have
        the size of a stride by chance, and would be added to other places.
        """
        strides = [1] * x.dim()
        axes = [axis for axis in place_axes(x) if x.shape[axis] != output.shape[axis]]
        if not axes:
            return tuple(strides)
        wide = x.new_empty([n * (WIDER if i in axes else 1) for i, n in enumerate(x.shape)])
        try:
            _, wide_output = grow(self.body, wide, address="body")
        except Unfit:  # a body for images of this one size
            wide, wide_output = x, output
        for axis in axes:
            pairs = [(a.shape[axis], b.shape[axis]) for a, b in ((x, output), (wide, wide_output))]
            fitting = (
                stride
                for stride in range(1, wide.shape[axis] + 1)
                if all(ceil(before / stride) == after for before, after in pairs)
            )
            strides[axis] = next(fitting, 0)
            if not strides[axis]:
                before, after = pairs[0]
                raise ValueError(
                    f"Residual.body turns {written(x)} into {written(output)}: no stride of the "
                    f"shortcut takes the same {after} of {before} places. "
                    "Use padding='same' in the body."
                )
        return tuple(strides)


def _projection(rank: int, channels: int, filters: int, strides: tuple[int, ...]) -> nn.Module:
    if rank == 4:
        return nn.Conv2d(channels, filters, 1, (strides[2], strides[3]), bias=False)
    linear = nn.Linear(channels, filters, bias=False)
    return nn.Sequential(_Subsample(strides), linear) if max(strides) > 1 else linear


class _ResidualSum(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class _Subsample(nn.Module):
    """Every stride-th cell of each axis, from the first on."""

    def __init__(self, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides

    def forward(self, x: Tensor) -> Tensor:
        return x[tuple(slice(None, None, stride) for stride in self.strides)]


class _PadChannels(nn.Module):
    """Channels of zeros after the others."""

    def __init__(self, count: int, axis: int) -> None:
        super().__init__()
        self.count = count
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        later = (0, 0) * (x.dim() - 1 - self.axis)
        return nn.functional.pad(x, (*later, 0, self.count))
