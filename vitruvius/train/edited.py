"""A model with the parts of an adapter carried out in its bodies."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from vitruvius.contracts import (
    Adapted,
    Adapter,
    Branch,
    Choose,
    ExtraTokens,
    Given,
    Model,
    Part,
    Reader,
    Replace,
    Structure,
    Tensors,
    WeightDelta,
)
from vitruvius.train.attached import Attached
from vitruvius.train.edits.branches import BranchCarrier
from vitruvius.train.edits.carrier import Carrier, stay_in_evaluation
from vitruvius.train.edits.entries import EntriesCarrier
from vitruvius.train.edits.extra_keys import ExtraKeysCarrier
from vitruvius.train.edits.prompts import PromptsCarrier
from vitruvius.train.edits.reading import ReaderCarrier
from vitruvius.train.edits.replaced import ReplacedCarrier
from vitruvius.train.edits.weight_deltas import InPlaceCarrier, ProductCarrier, parameters_of
from vitruvius.train.sites import Located, chosen, locate
from vitruvius.train.siting import EVERYWHERE


def carriers(adapter: Adapter, model: Model, given: Given) -> tuple[Carrier, ...]:
    """The parts of an adapter, ready to be installed. Raises ValueError; nothing is changed."""
    parts = adapter.parts()
    found = locate(model) if any(not isinstance(part.edit, Choose) for part in parts) else ()
    made: list[Carrier] = []
    masks: dict[str, Tensor] = {}
    for number, part in enumerate(parts):
        if isinstance(part.edit, Choose):
            _whole(adapter, part)
            for name, mask in part.edit.choose(model, given).items():
                masks[name] = masks[name] | mask if name in masks else mask
        else:
            made.append(_carrier(number, part, model, found, given))
    gone = {n for c in made if isinstance(c, ReplacedCarrier) for n in c.replaced}
    masks = {name: mask for name, mask in masks.items() if name not in gone}
    if masks or not made:
        made.insert(0, EntriesCarrier(type(adapter).__name__, model, masks))
    return tuple(made)


def _carrier(
    number: int, part: Part, model: Model, found: Sequence[Located], given: Given
) -> Carrier:
    edit = part.edit
    if isinstance(edit, WeightDelta) and part.sites == EVERYWHERE:
        return InPlaceCarrier(number, part, parameters_of(model), given)
    here = chosen(part.sites, found)
    if isinstance(edit, WeightDelta):
        return ProductCarrier(number, part, here, given)
    if isinstance(edit, Branch):
        return BranchCarrier(number, part, here, given)
    if isinstance(edit, ExtraTokens):
        if all(one.site.kind == "attention" for one in here):
            return ExtraKeysCarrier(number, part, here, given)
        layers = [one for one in found if one.site.kind == "layer"]
        return PromptsCarrier(number, part, here, given, layers)
    if isinstance(edit, Reader):
        return ReaderCarrier(number, part, here, given)
    if isinstance(edit, Replace):
        return ReplacedCarrier(number, edit, here, given)
    raise ValueError(f"{type(edit).__name__} is no kind of edit that is known.")


def _whole(adapter: Adapter, part: Part) -> None:
    if part.sites != EVERYWHERE:
        raise ValueError(
            f"{type(part.edit).__name__} chooses entries of the whole model, and as a part of "
            f"{type(adapter).__name__} it is given some sites. Give it Sites(kinds=())."
        )


class Edited(Attached):
    """Carriers are installed in order: what changes weights, then what computes beside them."""

    def __init__(
        self, adapter: Adapter, model: Model, carried: Sequence[Carrier], drawn: Tensor
    ) -> None:
        super().__init__(adapter, model, drawn)
        self._carriers = tuple(carried)
        self._check_frozen()
        self._hooks: list[RemovableHandle] = []
        self._install()
        self._begin()

    def deltas(self) -> Tensors:
        self._check_ready()
        found: dict[str, Tensor] = {}
        for carrier in self._carriers:
            for name, delta in carrier.deltas().items():
                found[name] = found[name] + delta if name in found else delta
        return found

    def restrict(self, structure: Structure, model: Model) -> Adapted:
        self._check_ready()
        made = [carrier.restricted(structure, model) for carrier in self._carriers]
        return Edited(self.adapter, model, made, self.drawn)

    def _install(self) -> None:
        for parameter in self._base.values():
            parameter.requires_grad_(False)
        for carrier in self._carriers:
            carrier.install()
        if self.adapter.frozen:
            for body in self._bodies:
                body.eval()
                self._hooks.append(body.register_forward_pre_hook(stay_in_evaluation))

    def _trained(self) -> Tensors:
        return {n: t for carrier in self._carriers for n, t in carrier.trained().items()}

    def unmergeable(self) -> str | None:
        return next((why for c in self._carriers if (why := c.unmergeable()) is not None), None)

    def _remove(self, merged: bool) -> None:
        values: dict[str, Tensor] = {}
        if merged:
            base = dict[str, Tensor](self._base)
            for carrier in self._carriers:
                found = carrier.values(base)
                values |= found
                base |= found
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for carrier in reversed(self._carriers):
            carrier.uninstall()
        for name, value in values.items():
            self._base[name].copy_(value)

    def _show_base(self, on: bool) -> None:
        super()._show_base(on)
        for carrier in self._carriers:
            carrier.show_base(on)

    def _before(self) -> Tensors:
        return {n: t for carrier in self._carriers for n, t in carrier.before().items()}

    def _check_frozen(self) -> None:
        name = type(self.adapter).__name__
        entries = [c for c in self._carriers if isinstance(c, EntriesCarrier)]
        trains = len(entries) < len(self._carriers) or any(c.masks for c in entries)
        if not trains and not self.adapter.frozen:
            raise ValueError(
                f"{name} found nothing to train in the bodies of this model. "
                "Take another adapter, or LinearProbe to train the head alone."
            )
        if trains and self.adapter.frozen:
            chosen = next((n for c in entries for n in c.masks), "parts with tensors of their own")
            raise ValueError(
                f"{name} says that it is frozen and chose {chosen}. "
                "Let its choose give nothing, or set frozen to False."
            )
