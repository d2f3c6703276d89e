"""Attaching an adapter to a model, before its training.

The stage then trains ``adapted.model`` with the ordinary loop, and ends with ``adapted.merge()``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vitruvius.contracts import (
    Adapted,
    Adapter,
    ForeignAdapter,
    Given,
    Lineage,
    Model,
    Tensors,
)
from vitruvius.train.attached import Attached, check_base
from vitruvius.train.edited import Edited, carriers


def attach(adapter: Adapter, model: Model, given: Given) -> Adapted:
    """The model ready to be trained as the adapter says, its bodies changed in place.

    Heads, and parts of the objective, train as before. Raises ValueError, with nothing changed,
    where the model is no base for this adapter. What is drawn comes from ``given.rng``.
    """
    if isinstance(adapter, ForeignAdapter):
        return adapter.attach(model, given)
    check_base(adapter, model)
    drawn = given.rng.get_state()
    return Edited(adapter, model, carriers(adapter, model, given), drawn)


def attach_again(
    adapter: Adapter, bodies: Mapping[str, nn.Module], drawn: Tensor, tensors: Tensors
) -> Adapted:
    """An adapter on the plain bodies that it was attached to, with what it had learned.

    ``drawn`` is the state of the generator from then.
    """
    rng = torch.Generator()
    rng.set_state(drawn)
    adapted = attach(adapter, Model(dict(bodies), {}, Lineage("")), Given(rng=rng))
    assert isinstance(adapted, Attached)
    adapted.put(tensors)
    return adapted
