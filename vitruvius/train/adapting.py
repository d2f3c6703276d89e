"""Attaching an adapter to a model, before its training.

The stage then trains ``adapted.model`` with the ordinary loop, and ends with ``adapted.merge()``.
"""

from __future__ import annotations

from torch import Tensor

from vitruvius.contracts import Adapted, Adapter, Choose, ForeignAdapter, Given, Model, Sites
from vitruvius.train.attached import check_base
from vitruvius.train.chosen import Chosen


def attach(adapter: Adapter, model: Model, given: Given) -> Adapted:
    """The model ready to be trained as the adapter says, its bodies changed in place.

    Heads, and parts of the objective, train as before. Raises ValueError, with nothing changed,
    where the model is no base for this adapter.
    """
    if isinstance(adapter, ForeignAdapter):
        return adapter.attach(model, given)
    check_base(adapter, model)
    masks: dict[str, Tensor] = {}
    for part in adapter.parts():
        edit = part.edit
        if not isinstance(edit, Choose) or part.sites != Sites(kinds=()):
            where = "everywhere" if part.sites == Sites(kinds=()) else "at some sites"
            raise ValueError(
                "Edits of kind Choose are carried out, each on the whole model; got "
                f"{type(edit).__name__} {where}, as a part of {type(adapter).__name__}. "
                "Take one of catalogue(Choose), or LoRA of interop.peft."
            )
        for name, mask in edit.choose(model, given).items():
            masks[name] = masks[name] | mask if name in masks else mask
    return Chosen(adapter, model, masks)
