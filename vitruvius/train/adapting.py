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
    Fitted,
    ForeignAdapter,
    Given,
    Lineage,
    Model,
    Tensors,
)
from vitruvius.train.attached import Attached, base_digest, check_base
from vitruvius.train.counting import counter, numbers_of
from vitruvius.train.edited import Edited, carriers


def attach(adapter: Adapter, model: Model, given: Given) -> Adapted:
    """The model ready to be trained as the adapter says, its bodies changed in place.

    Heads, and parts of the objective, train as before. Raises ValueError, with nothing changed,
    where the model is no base for this adapter. What is drawn comes from ``given.rng``.
    """
    if isinstance(adapter, ForeignAdapter):
        return adapter.attach(model, given)
    check_base(adapter, model)
    settled = adapter.settled(numbers_of(model), counter(model, given))
    if settled is not adapter:
        return attach(settled, model, given)
    drawn = given.rng.get_state()
    return Edited(adapter, model, carriers(adapter, model, given), drawn)


def attach_again(
    adapter: Adapter, bodies: Mapping[str, nn.Module], drawn: Tensor, tensors: Tensors
) -> Adapted:
    """An adapter on the plain bodies that it was attached to, with what it had learned.

    ``drawn`` is the state of the generator from then. Sources that start from what was loaded are
    given what there is now.
    """
    rng = torch.Generator()
    rng.set_state(drawn)
    asked = Given(rng=rng, fitted=Fitted(tensors))
    adapted = attach(adapter, Model(dict(bodies), {}, Lineage("")), asked)
    assert isinstance(adapted, Attached)
    adapted.put(tensors)
    return adapted


def handed_on(saved: Fitted, lineage: Lineage, model: Model) -> Fitted:
    """What ``Adapted.save`` gave, for another adapter on the same base: as ``given.fitted`` of one
    whose source is ``Loaded`` or ``Fixed``.

    Raises ValueError where the model, nothing attached, is another base than it was learned on.
    """
    mine = base_digest(model)
    if lineage.base != mine:
        raise ValueError(
            f"What was saved belongs to a base of digest {lineage.base!s:.12}; this one has "
            f"{mine:.12}. Start from it on the model that it was trained on."
        )
    return saved
