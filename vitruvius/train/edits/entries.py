"""Training some entries of the base, whatever the optimizer.

Source: Su et al. 2023, "Exploring the impact of model scaling on parameter-efficient tuning",
arXiv:2306.02320, section 3; the parametrisation by places and values is that of peft's SHiRA.

Of a tensor of which all entries train, the tensor itself does, and a copy of the base is kept. Of
one of which some train, those alone become a parameter: what stays is in no optimizer, so that no
step can move it, weight decay and turned bases included.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitruvius.contracts import Model, Structure, Tensors, base_parameters
from vitruvius.train.edits.carrier import Carrier, add_child, drop_child
from vitruvius.train.edits.rereading import holders, read_as, read_plain
from vitruvius.train.grouping import group_parameters


class EntriesCarrier(Carrier):
    """Of the base those entries train for which a mask is True.

    A body may name in ``unread`` how paths begin of what it never reads: that does not train.
    """

    def __init__(self, name: str, model: Model, masks: Tensors) -> None:
        self._name, self._model = name, model
        self._base = dict(base_parameters(model))
        self._check(masks)
        unread = tuple(
            f"{stream}.{path}"
            for stream, body in model.bodies.items()
            for path in getattr(body, "unread", ())
        )
        self.masks = {
            name: mask
            for name, mask in masks.items()
            if bool(_short(mask).any()) and not name.startswith(unread)
        }
        self._kept: dict[str, Tensor] = {}
        self._partly: dict[str, _Entries] = {}
        self._owners: dict[str, list[tuple[nn.Module, str]]] = {}
        self._away = False
        groups = {
            name: group
            for group in group_parameters(nn.ModuleDict(dict(model.bodies)))
            for name in group.names
        }
        for name, mask in self.masks.items():
            if bool(_short(mask).all()):
                self._kept[name] = self._base[name].detach().clone()
                continue
            self._partly[name] = _Entries(
                self._base[name].detach(), mask, groups[name].rate, groups[name].decay
            )

    def install(self) -> None:
        if self._away:
            self._exchange()
        self._away = False
        for name in self._kept:
            self._base[name].requires_grad_(True)
        roots = (*self._model.bodies.values(), *self._model.heads.values())
        for name, entries in self._partly.items():
            self._owners[name] = holders(iter(roots), self._base[name])
            for part, own in self._owners[name]:
                read_as(part, own, entries)
            add_child(self._body(name), name.replace(".", "/"), entries)

    def uninstall(self) -> None:
        for name, entries in self._partly.items():
            for part, own in self._owners.pop(name):
                read_plain(part, own, entries)
            drop_child(self._body(name), name.replace(".", "/"))
        self._exchange()
        self._away = True

    def deltas(self) -> Tensors:
        with torch.no_grad():
            found = {name: self._base[name] - before for name, before in self._kept.items()}
            for name, entries in self._partly.items():
                found[name] = entries.changed(self._base[name]) - self._base[name]
        return found

    @torch.no_grad()
    def values(self, base: Tensors) -> Tensors:
        return {name: self._now(name) for name in self.masks}

    def restricted(self, structure: Structure, model: Model) -> EntriesCarrier:
        """Entries that are gone train no more; of smaller tensors what stays is kept.

        The model has the base's names, each tensor with what the structure leaves of it.
        """
        here = base_parameters(model)
        masks, values = {}, {}
        for name, mask in self.masks.items():
            value = self._now(name)
            mask = mask.to(value.device)
            if name in structure.kept:
                places, axis = structure.kept[name].to(value.device), structure.axes.get(name, 0)
                value, mask = value.index_select(axis, places), mask.index_select(axis, places)
            if name not in here or here[name].shape != value.shape:
                found = f"{list(here[name].shape)}" if name in here else "no such parameter"
                raise ValueError(
                    f"{name} must be {list(value.shape)} after this pruning; got {found}. "
                    "Give the model that the structure belongs to."
                )
            if name in structure.masks:
                mask = mask & structure.masks[name].to(value.device)
            masks[name], values[name] = mask, value
        made = EntriesCarrier(self._name, model, masks)
        with torch.no_grad():
            for name, before in made._kept.items():
                before.copy_(values[name])
            for name, entries in made._partly.items():
                entries.values.copy_(values[name][tuple(entries.places.to(values[name].device))])
        made._away = True
        return made

    def trained(self) -> Tensors:
        found: dict[str, Tensor] = {name: self._base[name] for name in self._kept}
        for name, entries in self._partly.items():
            found[f"{name}.values"], found[f"{name}.places"] = entries.values, entries.places
        return found

    def show_base(self, on: bool) -> None:
        self._exchange()
        for entries in self._partly.values():
            entries.shown = not on

    def before(self) -> Tensors:
        return {} if self._away else self._kept

    def _exchange(self) -> None:
        """Whole tensors and those that are kept beside; nothing is copied."""
        for name, other in list(self._kept.items()):
            parameter = self._base[name]
            self._kept[name], parameter.data = parameter.data, other.to(parameter.device)

    @torch.no_grad()
    def _now(self, name: str) -> Tensor:
        entries = self._partly.get(name)
        held = self._base[name].detach()
        return held.clone() if entries is None else entries.changed(held)

    def _body(self, name: str) -> nn.Module:
        return self._model.bodies[name.partition(".")[0]]

    def _check(self, masks: Tensors) -> None:
        for path, mask in masks.items():
            if path not in self._base:
                raise ValueError(
                    f"{self._name}.choose names {path}, and there is no such parameter in the "
                    "bodies. Take the names that base_parameters(model) has."
                )
            shape = self._base[path].shape
            if mask.dtype != torch.bool or mask.shape != shape:
                raise ValueError(
                    f"{self._name}.choose must give bools of {list(shape)} for {path}; "
                    f"got {mask.dtype} of {list(mask.shape)}."
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


def _short(mask: Tensor) -> Tensor:
    """Without the entries that an expanded mask repeats."""
    return mask[tuple(slice(0, 1) if step == 0 else slice(None) for step in mask.stride())]
