"""Attaching an adapter to a model, before its training.

The stage then trains ``adapted.model`` with the ordinary loop, and ends with ``adapted.merge()``.
"""

from __future__ import annotations

from vitruvius.contracts import Adapted, Adapter, ForeignAdapter, Given, Model
from vitruvius.train.attached import check_base
from vitruvius.train.edited import Edited, carriers


def attach(adapter: Adapter, model: Model, given: Given) -> Adapted:
    """The model ready to be trained as the adapter says, its bodies changed in place.

    Heads, and parts of the objective, train as before. Raises ValueError, with nothing changed,
    where the model is no base for this adapter. What is drawn comes from ``given.rng``.
    """
    if isinstance(adapter, ForeignAdapter):
        return adapter.attach(model, given)
    check_base(adapter, model)
    return Edited(adapter, model, carriers(adapter, model, given))
