"""Adding to weights: by the product at modules that are linear in their weight, else in place.

Where a module computes a product with its weight, what the delta adds to its output is computed
beside it, and the weight stays as it is. Any other parameter (norms, biases, tables of positions)
is read as W + delta.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from vitruvius.contracts import (
    Edit,
    Given,
    Model,
    Part,
    Site,
    Structure,
    Tensors,
    WeightDelta,
    base_parameters,
)
from vitruvius.techniques.sources.free import FreeTensors, held
from vitruvius.train.edits.carrier import Made, SourceCarrier
from vitruvius.train.edits.rereading import holders, read_as, read_plain
from vitruvius.train.sites import Located, locate

LINEAR = ("linear", "convolution", "embedding")  # kinds of sites whose output is linear in a weight


class ProductCarrier(SourceCarrier):
    """Deltas of the weights of linear maps, convolutions and tables."""

    def __init__(self, number: int, part: Part, found: Sequence[Located], given: Given) -> None:
        super().__init__(number, part, found, given)
        for one in self.found:
            if one.site.kind not in LINEAR:
                raise ValueError(
                    f"{type(part.edit).__name__} changes weights; {one.site.path} is a site of "
                    f"kind {one.site.kind}. Give it sites of kind {', '.join(LINEAR)}."
                )

    def fixed(self, given: Given) -> Mapping[str, Tensors]:
        return _read(self.edit, {one.site.path: _weight(one) for one in self.found}, given)

    def hook(self, one: Located) -> Sequence[RemovableHandle]:
        at = _Product(self.made, one.site.path)
        return [one.module.register_forward_hook(at.after)]

    def deltas(self) -> Tensors:
        tensors = self.made.alone()
        with torch.no_grad():
            return {
                f"{one.site.path}.weight": _delta(
                    self.made, one.site.path, tensors[one.site.path], _weight(one)
                )
                for one in self.found
            }

    @torch.no_grad()
    def restricted(self, structure: Structure, model: Model) -> ProductCarrier:
        """The deltas of what stays of each weight; they are zero where the structure has a mask."""
        edit, source = self.edit, self.made.source
        assert isinstance(edit, WeightDelta)
        if not isinstance(source, FreeTensors):
            raise ValueError(
                f"{type(edit).__name__} follows a pruning where its tensors train by themselves; "
                f"got {type(source).__name__}. Take Free() as the source, or merge first."
            )
        here = {one.site.path: one for one in locate(model) if one.site.kind in LINEAR}
        free, tensors = source(None), self.made.alone()
        trained: dict[str, Tensors] = {}
        fixed: dict[str, Tensors] = {}
        stays: dict[str, Tensor] = {}
        for one in self.found:
            path, shape = one.site.path, _weight(one).shape
            t, name = tensors[path], f"{path}.weight"
            wanted = list(shape)
            if name in structure.kept:
                axis, kept = structure.axes.get(name, 0), structure.kept[name]
                wanted[axis] = len(kept)
                t = edit.cut(t, shape, axis, kept.to(_weight(one).device))
            found = list(_weight(here[path]).shape) if path in here else None
            if found != wanted:
                raise ValueError(
                    f"{name} must be {wanted} after this pruning; got "
                    f"{found or 'no such parameter'}. "
                    "Give the model that the structure belongs to."
                )
            if name in structure.masks:
                stays[path] = structure.masks[name]
            elif path in self.made.stays:
                stays[path] = self.made.stays[path]
            trained[path] = {n: tensor for n, tensor in t.items() if n in free[path]}
            fixed[path] = {n: tensor for n, tensor in t.items() if n not in free[path]}
        made = copy(self)
        made.found = [here[one.site.path] for one in self.found]
        made.begin(Made(edit, held(trained), fixed))
        made.made.stays = stays
        return made


class _Product:
    """What the delta of one weight adds to the output of its module."""

    def __init__(self, made: Made, path: str) -> None:
        self.made, self.path = made, path

    def after(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        made, edit = self.made, self.made.edit
        if not made.shown:
            return None
        assert isinstance(edit, WeightDelta)
        tensors, x = made.now[self.path], inputs[0]
        added = None if self.path in made.stays else edit.forward(tensors, x, module)
        if added is None:
            delta = _delta(made, self.path, tensors, module.get_parameter("weight"))
            added = product(module, x, delta)
        return output + added


def _delta(made: Made, path: str, tensors: Tensors, weight: Tensor) -> Tensor:
    """The change of a weight, where it still has entries."""
    assert isinstance(made.edit, WeightDelta)
    delta = made.edit.delta(tensors, weight)
    return delta * made.stays[path].to(delta.device) if path in made.stays else delta


def _weight(one: Located) -> Tensor:
    return one.module.get_parameter("weight")


def _read(edit: Edit, weights: Tensors, given: Given) -> Mapping[str, Tensors]:
    """What an edit reads off weights, by path."""
    assert isinstance(edit, WeightDelta)
    return {path: edit.fixed(weight.detach(), given.rng) for path, weight in weights.items()}


def product(module: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """What a module gives with another weight and no bias; with one for each row [B out in] too."""
    if isinstance(module, nn.Embedding):
        if weight.ndim == 3:
            return weight[torch.arange(len(x), device=x.device)[:, None], x]
        return functional.embedding(x, weight, module.padding_idx)
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return module._conv_forward(x, weight, None)
    if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        convolve = getattr(functional, f"conv_transpose{x.ndim - 2}d")
        moves = module.stride, module.padding, module.output_padding
        return convolve(x, weight, None, *moves, module.groups, module.dilation)
    return x @ weight.mT


@dataclass(frozen=True, eq=False)
class LocatedParameter(Located):
    """A parameter as a site: its path is its name, its size "weight"."""

    parameter: nn.Parameter


def parameters_of(model: Model) -> tuple[LocatedParameter, ...]:
    """All of the bodies that can have a gradient, each once, but what a body never reads."""
    streams = {stream: body for stream, body in model.bodies.items()}
    found: list[LocatedParameter] = []
    for name, parameter in base_parameters(model).items():
        stream, path = name.split(".", 1)
        body = streams[stream]
        unread = path.startswith(tuple(getattr(body, "unread", ())))
        if unread or not (parameter.is_floating_point() or parameter.is_complex()):
            continue
        site = Site(name, "parameter", "parameter", -1, stream, {"weight": parameter.shape})
        found.append(LocatedParameter(site, body, body, body, body, parameter))
    return tuple(found)


class InPlaceCarrier(SourceCarrier):
    """Deltas of parameters wherever they are read: each is W + delta while a body runs."""

    def __init__(
        self, number: int, part: Part, found: Sequence[LocatedParameter], given: Given
    ) -> None:
        super().__init__(number, part, found, given)
        self._parameters = [one for one in found if one in self.found]
        self._owners: list[tuple[nn.Module, str, _Added]] = []

    def fixed(self, given: Given) -> Mapping[str, Tensors]:
        weights = {
            one.site.path: one.parameter for one in self.found if isinstance(one, LocatedParameter)
        }
        return _read(self.edit, weights, given)

    def install(self) -> None:
        super().install()
        for one in self._parameters:
            added = _Added(self.made, one.site.path)
            for part, own in holders(iter((one.body,)), one.parameter):
                self._owners.append((part, own, added))
                read_as(part, own, added)

    def uninstall(self) -> None:
        for part, own, added in self._owners:
            read_plain(part, own, added)
        self._owners = []
        super().uninstall()

    def hook(self, one: Located) -> Sequence[RemovableHandle]:
        return []

    def deltas(self) -> Tensors:
        made, edit = self.made.alone(), self.edit
        assert isinstance(edit, WeightDelta)
        with torch.no_grad():
            return {
                one.site.path: edit.delta(made[one.site.path], one.parameter)
                for one in self._parameters
            }


class _Added:
    """A parameter with its delta. Outside of a pass it is as in the base."""

    def __init__(self, made: Made, path: str) -> None:
        self.made, self.path = made, path

    def __call__(self, base: Tensor) -> Tensor:
        made, path = self.made, self.path
        if not made.shown or path not in made.now:
            return base
        edit = made.edit
        assert isinstance(edit, WeightDelta)
        return base + edit.delta(made.now[path], base)
