"""What each layer draws for itself.

Source: PyTorch, ``reset_parameters`` of each layer: for linear layers and convolutions uniform
within 1 / sqrt(fan-in), after LeCun et al. 1998, "Efficient BackProp", section 4.6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vitruvius.contracts import Given, Inherited, Initializer, Model


@dataclass(frozen=True)
class Default(Initializer):
    """Each layer's own ``reset_parameters``, in order, under ``given.rng``."""

    def initialize(self, model: Model, given: Given) -> Inherited:
        reset_all(model, given.rng)
        return Inherited()


def modules(model: Model) -> tuple[nn.Module, ...]:
    """All parts of a model that hold parameters themselves, once each."""
    towers = (*model.bodies.values(), *model.heads.values())
    found = {id(part): part for tower in towers for part in tower.modules()}
    return tuple(
        part for part in found.values() if any(True for _ in part.parameters(recurse=False))
    )


def reset_all(model: Model, rng: torch.Generator) -> None:
    """Draw every layer anew. Layers draw from the global generator, which is left as it was."""
    seed = int(torch.randint(2**62, (1,), generator=rng, device=rng.device))
    parts = modules(model)
    devices = {p.device for part in parts for p in part.parameters(recurse=False) if p.is_cuda}
    with torch.random.fork_rng(devices=sorted(devices, key=str)), torch.no_grad():
        torch.manual_seed(seed)
        for part in parts:
            reset = getattr(part, "reset_parameters", None) or getattr(
                part, "_reset_parameters", None
            )
            if reset is None:
                raise TypeError(
                    f"{type(part).__name__} holds parameters and has no reset_parameters(). "
                    "Write one that sets all of them."
                )
            reset()
