"""What flows between layers: the shape that comes out, padding, and words for what does not fit.

Three media, told apart by rank: rows [B, d], sequences [B, T, d], images [B, C, H, W].
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import Node
from vitruvius.space.domains import snake

MEDIA = {2: "rows [B, d]", 3: "sequences [B, T, d]", 4: "images [B, C, H, W]"}


class Unfit(ValueError):
    """A layer that cannot take what comes to it: where it stands in the network, and why."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.address}: {self.reason}"


@dataclass(frozen=True)
class Composite(Layer):
    """A layer made of layers: putting it together tells what comes out, so nothing runs twice."""

    @abstractmethod
    def assemble(self, x: Tensor) -> tuple[nn.Module, Tensor]:
        """The module for inputs like x, and what comes out of it."""

    def build(self, x: Tensor) -> nn.Module:
        return self.assemble(x)[0]


KEEP_SHAPE = (
    nn.Identity,
    nn.Dropout,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
)
"""Not run to learn a shape: batch normalisation alone takes 4 ms on meta, a convolution 0.2 ms."""


def grow(layer: Layer, *inputs: Tensor, address: str) -> tuple[nn.Module, Tensor]:
    """The module of a layer and what comes out of it, both on the device of the inputs.

    Raises Unfit where the layer, or one inside it, cannot take the inputs.
    """
    try:
        with inputs[0].device, torch.no_grad():
            if isinstance(layer, Composite):
                return layer.assemble(*inputs)
            module = layer.build(*inputs)
            if type(module) in KEEP_SHAPE:
                return module, inputs[0]
            output = module.eval()(*inputs)
            module.train()
    except Unfit as error:
        raise Unfit(f"{address}.{error.address}", error.reason) from error
    except (ValueError, RuntimeError) as error:
        raise Unfit(address, str(error)) from error
    return module, output


def keys(layers: Iterable[Node]) -> list[str]:
    """Addresses of the parts of a tuple: class names, the second of a class with ``_2``."""
    used: dict[str, int] = {}
    found = []
    for layer in layers:
        key = layer.label or snake(type(layer).__name__)
        used[key] = used.get(key, 0) + 1
        found.append(key if used[key] == 1 else f"{key}_{used[key]}")
    return found


def written(x: Tensor) -> str:
    """A shape as errors show it: ``[B, 3, 8, 8]``."""
    return f"[{', '.join(['B', *map(str, x.shape[1:])])}]"


def need(layer: Node, x: Tensor, *ranks: int, advice: str) -> None:
    """Raise ValueError where x is of no rank that the layer takes."""
    if x.dim() not in ranks:
        media = " or ".join(MEDIA[rank] for rank in ranks)
        raise ValueError(f"{type(layer).__name__} needs {media}; got {written(x)}. {advice}")


def need_positive(node: Node, *fields: str) -> None:
    """Raise ValueError where one of these whole numbers is below 1."""
    for field in fields:
        value = getattr(node, field)
        if value is not None and value < 1:
            raise ValueError(f"{type(node).__name__}.{field} must be at least 1; got {value}.")


def need_option(node: Node, field: str, *options: str) -> None:
    """Raise ValueError where a field holds none of its words."""
    value = getattr(node, field)
    if value not in options:
        raise ValueError(
            f"{type(node).__name__}.{field} is one of {', '.join(map(repr, options))}; "
            f"got {value!r}."
        )


def need_layers(node: Node, *fields: str) -> None:
    """Raise ValueError where a field, or an item of it, is no layer."""
    for field in fields:
        value = getattr(node, field)
        for item in value if field == node.varargs else (value,):
            if not isinstance(item, Layer):
                raise ValueError(
                    f"{type(node).__name__}.{field} takes layers; got {item!r:.60}. "
                    "For several layers in one place, wrap them in Sequential(...)."
                )


def channel_axis(x: Tensor) -> int:
    """The axis of channels or features: 1 for images, else the last."""
    return 1 if x.dim() == 4 else x.dim() - 1


def place_axes(x: Tensor) -> tuple[int, ...]:
    """The axes of places: (2, 3) for images, (1,) for sequences, none for rows."""
    return {2: (), 3: (1,), 4: (2, 3)}[x.dim()]


def same_padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """Cells before and after an axis such that ceil(n / stride) windows come out of n cells."""
    total = dilation * (kernel - 1)
    return total // 2, total - total // 2


def need_room(layer: Node, x: Tensor, reach: int) -> None:
    """Raise ValueError where an axis of places is shorter than a window of ``reach`` cells."""
    shortest = min(x.shape[axis] for axis in place_axes(x))
    if shortest < reach:
        name = type(layer).__name__
        raise ValueError(
            f"{name} with padding 'valid' spans {reach} cells, but {written(x)} has only "
            f"{shortest}. Use padding='same', a smaller kernel, or fewer strides before it."
        )


class ChannelsFirst(nn.Module):
    """Runs a module of PyTorch that wants [B, d, T] on sequences [B, T, d]."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.transpose(1, 2)).transpose(1, 2)
