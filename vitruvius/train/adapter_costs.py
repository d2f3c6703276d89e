"""What an adapter costs: numbers that train, what the backward pass keeps, FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Adapted, Stream
from vitruvius.train.meter import forward_flops


@dataclass(frozen=True)
class AdapterCosts:
    """Of one step over a stream."""

    numbers: int
    """That train in the bodies."""
    saved_bytes: int
    """Kept for the backward pass; weights and buffers of the model are not counted."""
    flops: float
    """Of the forward pass with the adapter."""
    base_flops: float
    """Of that without it."""


def costs_of(adapted: Adapted, stream: Stream) -> AdapterCosts:
    """Measured on the body "input", in the mode that it is in."""
    body = adapted.model.bodies["input"]
    flops = forward_flops(lambda: body(stream))
    with adapted.original():
        before = forward_flops(lambda: body(stream))
    saved = saved_bytes(body, lambda: body(stream).hidden.float().square().mean())
    return AdapterCosts(adapted.count, saved, flops, before)


def saved_bytes(modules: nn.Module, loss: Callable[[], Tensor]) -> int:
    """What autograd keeps for the backward pass of a loss.

    Each storage counts once, whatever looks at it; weights and buffers of the modules are there
    anyway.
    """
    own = {t.untyped_storage().data_ptr() for t in (*modules.parameters(), *modules.buffers())}
    kept: dict[int, Any] = {}  # held, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss()
    return sum(storage.nbytes() for storage in kept.values())
