"""Training some entries of a model, whatever the optimizer.

Source: Su et al. 2023, "Exploring the impact of model scaling on parameter-efficient tuning",
arXiv:2306.02320, section 3; the parametrisation by places and values is that of peft's SHiRA.

Of a tensor of which all entries train, the tensor itself does, and a copy of the base is kept. Of
one of which some train, those alone become a parameter: what stays is in no optimizer, so that no
step can move it, weight decay and turned bases included.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from vitruvius.contracts import (
    Adapted,
    Adapter,
    Model,
    Structure,
    Tensors,
    base_parameters,
)
from vitruvius.train.attached import Attached
from vitruvius.train.grouping import group_parameters


class Chosen(Attached):
    """A model in which those entries train for which a mask is True.

    A body may name in ``unread`` how paths begin of what it never reads: that does not train.
    """

    def __init__(self, adapter: Adapter, model: Model, masks: Tensors) -> None:
        super().__init__(adapter, model)
        self._check(masks)
        unread = tuple(
            f"{stream}.{path}"
            for body, stream in self._bodies.items()
            for path in getattr(body, "unread", ())
        )
        self._masks = {
            name: mask
            for name, mask in masks.items()
            if bool(_short(mask).any()) and not name.startswith(unread)
        }
        self._check_frozen()
        self._kept: dict[str, Tensor] = {}
        self._partly: dict[str, _Entries] = {}
        self._owners: dict[str, list[tuple[nn.Module, str]]] = {}
        self._orders: dict[nn.Module, list[str]] = {}
        self._hooks: list[RemovableHandle] = []
        for name, parameter in self._base.items():
            parameter.requires_grad_(name in self._masks)
        groups = {
            name: group
            for group in group_parameters(nn.ModuleDict(dict(model.bodies)))
            for name in group.names
        }
        for name, mask in self._masks.items():
            if bool(_short(mask).all()):
                self._kept[name] = self._base[name].detach().clone()
                continue
            self._base[name].requires_grad_(False)
            self._owners[name] = list(self._holders(self._base[name]))
            self._partly[name] = _Entries(
                self._base[name].detach(), mask, groups[name].rate, groups[name].decay
            )
        self._orders |= {
            part: list(part._parameters) for held in self._owners.values() for part, _ in held
        }
        for name, entries in self._partly.items():
            for part, own in self._owners[name]:
                parametrize.register_parametrization(part, own, entries)
        if not self._masks:
            for body in self._bodies:
                body.eval()
                self._hooks.append(body.register_forward_pre_hook(_stay_in_evaluation))
        self._begin()

    def deltas(self) -> Tensors:
        self._check_ready()
        with torch.no_grad():
            found = {name: self._base[name] - before for name, before in self._kept.items()}
            for name, entries in self._partly.items():
                found[name] = entries.changed(self._base[name]) - self._base[name]
        return found

    def restrict(self, structure: Structure, model: Model) -> Adapted:
        """Entries that are gone train no more; of smaller tensors the rows that stay are kept.

        The model has the base's names, each tensor with what the structure leaves of it.
        """
        self._check_ready()
        here = base_parameters(model)
        masks, values = {}, {}
        for name, mask in self._masks.items():
            value = self._now(name)
            mask = mask.to(value.device)
            if name in structure.kept:
                rows = structure.kept[name].to(value.device)
                value, mask = value[rows], mask[rows]
            if name not in here or here[name].shape != value.shape:
                found = f"{list(here[name].shape)}" if name in here else "no such parameter"
                raise ValueError(
                    f"{name} must be {list(value.shape)} after this pruning; got {found}. "
                    "Give the model that the structure belongs to."
                )
            if name in structure.masks:
                mask = mask & structure.masks[name].to(value.device)
            masks[name], values[name] = mask, value
        made = Chosen(self.adapter, model, masks)
        with torch.no_grad():
            for name in made._kept:
                made._base[name].copy_(values[name])
            for name, entries in made._partly.items():
                entries.values.copy_(values[name][tuple(entries.places.to(values[name].device))])
        return made

    @torch.no_grad()
    def _now(self, name: str) -> Tensor:
        entries = self._partly.get(name)
        held = self._base[name].detach()
        return held.clone() if entries is None else entries.changed(held)

    def _trained(self) -> Tensors:
        found: dict[str, Tensor] = {name: self._base[name] for name in self._kept}
        for name, entries in self._partly.items():
            found[f"{name}.values"], found[f"{name}.places"] = entries.values, entries.places
        return found

    def _remove(self, merged: bool) -> None:
        for hook in self._hooks:
            hook.remove()
        for name in self._partly:
            now = self._now(name)
            for part, own in self._owners[name]:
                parametrize.remove_parametrizations(part, own, leave_parametrized=False)
            if merged:
                self._base[name].copy_(now)
        for part, order in self._orders.items():
            part._parameters = {own: part._parameters[own] for own in order}
        if not merged:
            for name, before in self._kept.items():
                self._base[name].copy_(before)

    def _show_base(self, on: bool) -> None:
        super()._show_base(on)
        for name, other in list(self._kept.items()):
            parameter = self._base[name]  # exchanged: nothing is copied
            self._kept[name], parameter.data = parameter.data, other.to(parameter.device)
        for entries in self._partly.values():
            entries.shown = not on

    def _before(self) -> Tensors:
        return self._kept

    def _holders(self, parameter: nn.Parameter) -> Iterator[tuple[nn.Module, str]]:
        """The modules that hold it, of bodies and of heads, and its name in each."""
        for root in (*self._bodies, *self._model.heads.values()):
            for part in root.modules():
                for own, held in part._parameters.items():
                    if held is parameter:
                        yield part, own

    def _check(self, masks: Tensors) -> None:
        name = type(self.adapter).__name__
        for path, mask in masks.items():
            if path not in self._base:
                raise ValueError(
                    f"{name}.choose names {path}, and there is no such parameter in the bodies. "
                    "Take the names that base_parameters(model) has."
                )
            shape = self._base[path].shape
            if mask.dtype != torch.bool or mask.shape != shape:
                raise ValueError(
                    f"{name}.choose must give bools of {list(shape)} for {path}; "
                    f"got {mask.dtype} of {list(mask.shape)}."
                )

    def _check_frozen(self) -> None:
        name = type(self.adapter).__name__
        if not self._masks and not self.adapter.frozen:
            raise ValueError(
                f"{name} found nothing to train in the bodies of this model. "
                "Take another adapter, or LinearProbe to train the head alone."
            )
        if self._masks and self.adapter.frozen:
            raise ValueError(
                f"{name} says that it is frozen and chose {next(iter(self._masks))}. "
                "Let its choose give nothing, or set frozen to False."
            )


class _Entries(nn.Module):
    """A tensor of the base in which ``values`` stand at ``places`` [axes, values]."""

    places: Tensor

    def __init__(self, base: Tensor, mask: Tensor, rate: float, decay: bool) -> None:
        super().__init__()
        places = torch.stack(mask.to(base.device).nonzero(as_tuple=True))
        self.register_buffer("places", places, persistent=False)
        self.values = nn.Parameter(base[tuple(places)])
        self.rates, self.decays = {"values": rate}, {"values": decay}
        self.shown = True

    def changed(self, base: Tensor) -> Tensor:
        return base.index_put(tuple(self.places), self.values)

    def forward(self, base: Tensor) -> Tensor:
        return self.changed(base) if self.shown else base


def _stay_in_evaluation(body: nn.Module, inputs: Any) -> None:
    if body.training:
        body.eval()


def _short(mask: Tensor) -> Tensor:
    """Without the entries that an expanded mask repeats."""
    return mask[tuple(slice(0, 1) if step == 0 else slice(None) for step in mask.stride())]
