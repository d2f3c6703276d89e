"""Parameters and FLOPs, measured on the meta device before a byte is allocated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vitruvius.contracts import Cost

BACKWARD = 2.0  # FLOPs of a backward pass over those of the forward pass


@dataclass
class FlopMeter:
    """Counts work: what a module would take, and what has been spent so far."""

    spent: Cost = field(default_factory=Cost)

    def weigh(self, module: nn.Module, *x: Any) -> Cost:
        """Parameters, their bytes, and FLOPs of one forward pass over x, all on meta."""
        flops = forward_flops(lambda: module(*x))
        parameters = {id(p): p for p in module.parameters()}.values()
        return Cost(
            flops=flops,
            parameters=sum(p.numel() for p in parameters),
            memory_bytes=sum(p.numel() * p.element_size() for p in parameters),
        )

    def add(self, flops: float = 0.0, seconds: float = 0.0) -> None:
        """Book work that was done."""
        spent = self.spent
        self.spent = replace(spent, flops=spent.flops + flops, seconds=spent.seconds + seconds)


def forward_flops(call: Callable[[], Any]) -> float:
    """FLOPs of what is called, without gradients."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return float(counter.get_total_flops())


def training_flops(forward: float, items: int) -> float:
    """FLOPs of training on so many items, from those of one forward pass over one item."""
    return forward * (1.0 + BACKWARD) * items
