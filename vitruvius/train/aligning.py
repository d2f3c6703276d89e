"""Two decided networks side by side: which layer of one stands for which layer of the other.

Source: the longest common subsequence, with weights, is that of Wagner & Fischer 1974, "The
string-to-string correction problem". FlexiBERT (Tuli et al. 2023, arXiv:2205.11656) transfers
weights along a common prefix of layers.
Differs from FlexiBERT: layers may be added or left out anywhere, and a pair weighs what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Head, Layer, Stream
from vitruvius.space import Node
from vitruvius.space.fields import field_names
from vitruvius.space.node import same
from vitruvius.techniques.layers import Branches, Dense, Residual
from vitruvius.techniques.layers import Sequential as InARow
from vitruvius.techniques.layers.residual import _PadChannels
from vitruvius.techniques.layers.shapes import keys
from vitruvius.techniques.layers.transformer import TokenNetwork, Transformer
from vitruvius.train.building import PROBE, Outline

Shape = tuple[int, ...]
Shapes = Mapping[str, tuple[Shape, Shape]]


@dataclass(frozen=True, eq=False)
class Part:
    """A layer of a network, where it stands. Shapes are without the batch."""

    layer: Node
    module: nn.Module
    name: str
    """Of the module in the network: how the names of its tensors begin."""
    place: str
    """Of the layer in the design."""
    before: Shape
    """What comes in."""
    after: Shape
    """What comes out; () where it is no tensor."""
    shapes: Shapes = field(repr=False, default_factory=dict)
    """Of all modules of the network, by name: what comes in and out."""

    @property
    def kind(self) -> str:
        return type(self.layer).__name__

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())

    def body(self, number: int | None = None) -> list[Part]:
        """The layers inside a Residual, or inside one of the bodies of Branches or Dense."""
        layer: Any = self.layer
        name = "body" if number is None else f"bodies.{number}"
        inner = layer.body if number is None else layer.bodies[number]
        place = f"{self.place}.{name if number is None else keys(layer.bodies)[number]}"
        module = self.module.get_submodule(name)
        if number is None and self.padded:
            name, module = f"{name}.0", module.get_submodule("0")
        return row(inner, module, f"{self.name}.{name}", place, self.shapes)

    @property
    def padded(self) -> bool:
        """Whether channels of zeros come after the body of a Residual."""
        body = self.module.get_submodule("body")
        return isinstance(body, nn.Sequential) and any(isinstance(m, _PadChannels) for m in body)


@dataclass(frozen=True, eq=False)
class Network:
    """A decided network and its outline, on meta or with real weights."""

    layer: Layer
    head: Head
    outline: Outline

    @cached_property
    def parts(self) -> list[Part]:
        """Its layers in a row, the head as the last."""
        network = self.outline.network
        shapes = _shapes(network, self.outline.shape)
        inside = network.body.get_submodule("network")
        found = row(self.layer, inside, "body.network", "", shapes)
        hidden = shapes["body.network"][1]
        return [*found, Part(self.head, network.head, "head", "head", hidden, (), shapes)]


def row(layer: Node, module: nn.Module, name: str, place: str, shapes: Shapes) -> list[Part]:
    """The layers of a sequence, those of sequences in it in their place; or the one layer."""
    inner: list[tuple[str, Node, str]]
    if isinstance(layer, InARow):
        pairs = enumerate(zip(keys(layer.layers), layer.layers, strict=True))
        inner = [(key, part, f"{i}") for i, (key, part) in pairs]
    elif isinstance(layer, Transformer) and isinstance(module, TokenNetwork):
        blocks = enumerate(zip(keys(layer.blocks), layer.settled(), strict=True))
        inner = [("stem", layer.stem, "stem")]
        inner += [(f"blocks.{key}", block, f"blocks.{i}") for i, (key, block) in blocks]
        if module.norm is not None and layer.norm is not None:
            inner.append(("norm", layer.norm, "norm"))
    else:
        before, after = shapes.get(name, ((), ()))
        return [Part(layer, module, name, place or _word(layer), before, after, shapes)]
    found: list[Part] = []
    for key, part, inside in inner:
        where = f"{place}.{key}" if place else key
        found.extend(row(part, module.get_submodule(inside), f"{name}.{inside}", where, shapes))
    return found


def _word(layer: Node) -> str:
    return keys((layer,))[0]


def _shapes(network: nn.Module, shape: Shape) -> dict[str, tuple[Shape, Shape]]:
    """What comes into and out of each module, without the batch, by one pass in evaluation."""
    found: dict[str, tuple[Shape, Shape]] = {}
    like = next(network.parameters(), torch.empty(0, device="meta"))
    handles = []
    for name, module in network.named_modules():

        def note(_: nn.Module, given: Any, made: Any, name: str = name) -> None:
            made = made[0] if isinstance(made, tuple) else made
            if given and isinstance(given[0], Tensor) and isinstance(made, Tensor):
                found[name] = (tuple(given[0].shape[1:]), tuple(made.shape[1:]))

        handles.append(module.register_forward_hook(note))
    modes = [(module, module.training) for module in network.modules()]
    try:
        x = torch.zeros((PROBE, *shape), dtype=like.dtype, device=like.device)
        with torch.no_grad():
            network.eval()(Stream(x))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return found


def alike(a: Node, b: Node, but: Sequence[str] = ()) -> bool:
    """Whether two nodes are of one class and equal but for labels and some fields."""
    if type(a) is not type(b):
        return False
    names = [n for n in field_names(type(a)) if n not in ("label", *but)]
    return all(_same(getattr(a, n), getattr(b, n)) for n in names)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Node) and isinstance(b, Node):
        return alike(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return same(a, b)


def differing(a: Node, b: Node) -> list[str]:
    """Names of the fields in which two nodes of one class differ, labels left out."""
    names = [n for n in field_names(type(a)) if n != "label"]
    return [n for n in names if not _same(getattr(a, n), getattr(b, n))]


def channels(shape: Shape) -> int:
    """Of images [C H W] the first axis, of all else the last."""
    return 1 if not shape else shape[0] if len(shape) == 3 else shape[-1]


def pairs(parents: Sequence[Part], children: Sequence[Part]) -> list[tuple[int, int]]:
    """The layers of two sequences that stand for each other: (number in one, in the other).

    Of all ways to pair them in order that which weighs most, and of equal ones the earliest. A pair
    is of one class.
    """
    weights = [[weight(p, c) for c in children] for p in parents]
    rows, columns = len(parents), len(children)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            paired = weights[i][j] + best[i + 1][j + 1] if weights[i][j] else 0
            best[i][j] = max(paired, best[i + 1][j], best[i][j + 1])
    found, i, j = [], 0, 0
    while i < rows and j < columns:
        if weights[i][j] and best[i][j] == weights[i][j] + best[i + 1][j + 1]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            i += 1
    return found


def weight(parent: Part, child: Part) -> int:
    """What a pair is worth: 0 where it cannot be; else about 4 for each parameter that passes, the
    less the wider the child's layer is, and half of that where it is narrower."""
    if type(parent.layer) is not type(child.layer):
        return 0
    if parent.before == child.before and alike(parent.layer, child.layer):
        return 4 * child.parameters + 3
    inner = list(_inner(parent, child))
    if inner:
        return sum(inner) + 1
    fit, narrower = 1.0, False
    for ours, theirs in ((parent.before, child.before), (parent.after, child.after)):
        old, new = channels(ours), channels(theirs)
        fit, narrower = fit * min(old, new) / max(old, new), narrower or new < old
    passed = math.sqrt(fit) * min(parent.parameters, child.parameters)
    return 2 + round(passed * (2 if narrower else 4))


def _inner(parent: Part, child: Part) -> Iterator[int]:
    """The worth of what stands inside both."""
    numbers: Sequence[int | None] = ()
    if isinstance(child.layer, Residual):
        numbers = (None,)
    elif isinstance(child.layer, (Branches, Dense)):
        count = min(len(child.layer.bodies), len(parent.layer.bodies))  # type: ignore[attr-defined]
        numbers = range(count)
    for number in numbers:
        ours, theirs = parent.body(number), child.body(number)
        yield sum(weight(ours[i], theirs[j]) for i, j in pairs(ours, theirs))
