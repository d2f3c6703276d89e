"""Other modules in the place of some of a base's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitruvius.contracts import Given, Replace, Tensors
from vitruvius.train.edits.carrier import Carrier
from vitruvius.train.sites import Located


class ReplacedCarrier(Carrier):
    """Puts what ``swap`` made where a module was, in all places that hold it."""

    def __init__(self, number: int, edit: Replace, found: Sequence[Located], given: Given) -> None:
        self.number, self.edit = number, edit
        fit = [one for one in found if edit.fits(one.site)]
        made = [(one, edit.swap(one.module, given)) for one in fit]
        self._made = [(one, new) for one, new in made if new is not None]
        if not self._made:
            raise ValueError(
                f"{type(edit).__name__} replaces none of the {len(found)} modules that it is "
                "given. Give it other sites, or other settings."
            )
        self._holders: list[tuple[nn.Module, str, nn.Module]] = []

    @property
    def replaced(self) -> frozenset[str]:
        """Names of the base's parameters that nothing reads any more."""
        return frozenset(
            f"{one.site.path}.{name}"
            for one, _ in self._made
            for name, _ in one.module.named_parameters()
        )

    def install(self) -> None:
        for one, new in self._made:
            held = [
                (part, name)
                for part in one.body.modules()
                for name, child in part._modules.items()
                if child is one.module
            ]
            new.train(one.module.training)
            for part, name in held:
                self._holders.append((part, name, one.module))
                part._modules[name] = new

    def uninstall(self) -> None:
        for part, name, before in self._holders:
            part._modules[name] = before
        self._holders = []

    def trained(self) -> Tensors:
        return {
            f"adapter.{self.number}.{one.site.path}.{name}": tensor
            for one, new in self._made
            for name, tensor in new.state_dict(keep_vars=True).items()
        }

    @torch.no_grad()
    def deltas(self) -> Tensors:
        found: dict[str, Tensor] = {}
        for one, new in self._made:
            weight = self.edit.weight(new)
            if weight is not None:
                found[f"{one.site.path}.weight"] = weight - one.module.get_parameter("weight")
            bias = _bias(new)
            if (
                weight is not None
                and bias is not None
                and one.module._parameters.get("bias") is not None
            ):
                found[f"{one.site.path}.bias"] = bias - one.module.get_parameter("bias")
        return found

    def values(self, base: Tensors) -> Tensors:
        found: dict[str, Tensor] = {}
        for one, new in self._made:
            weight, bias = self.edit.weight(new), _bias(new)
            assert weight is not None
            found[f"{one.site.path}.weight"] = weight
            if bias is not None and one.module._parameters.get("bias") is not None:
                found[f"{one.site.path}.bias"] = bias
        return {name: tensor.detach().clone() for name, tensor in found.items()}

    def unmergeable(self) -> str | None:
        for one, new in self._made:
            if self.edit.weight(new) is None:
                return f"what stands at {one.site.path} is no plain module with another weight"
        return None

    def show_base(self, on: bool) -> None:
        for part, name, before in self._holders:
            new = next(new for one, new in self._made if one.module is before)
            part._modules[name] = before if on else new


def _bias(module: nn.Module) -> Tensor | None:
    """The last bias in it."""
    found = [p for name, p in module.named_parameters() if name.split(".")[-1] == "bias"]
    return found[-1] if found else None
