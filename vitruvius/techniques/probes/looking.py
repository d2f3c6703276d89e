"""The vectors that a model gives for items, while nothing of it changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vitruvius.contracts import Batch, Model
from vitruvius.techniques.layers.pooling import one_vector, present_in

PROJECTOR = "projector"  # the head that contrastive and the like pretraining leaves


@contextmanager
def untouched(model: Model) -> Iterator[None]:
    """Inside, the model neither learns nor drops anything; then it is in the mode it was in."""
    modules = (*model.bodies.values(), *model.heads.values())
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, training in modes:
            part.training = training


def vector_of(model: Model, batch: Batch, layer: str, pool: str) -> Tensor:
    """[B d] of the body ("representation"), or what the projector makes of it ("embedding"), in the
    precision of the weights whatever surrounds it."""
    stream = batch.streams["input"]
    with torch.autocast(stream.values.device.type, enabled=False):
        hidden = model.bodies["input"](stream).hidden
        vector = one_vector(hidden, present_in(hidden, stream), pool)
        return vector if layer == "representation" else model.heads[PROJECTOR](vector)
