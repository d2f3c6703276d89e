"""Tensors that train by themselves.

Source: He et al. 2015, "Delving deep into rectifiers", arXiv:1502.01852, section 2.2, for the start
"kaiming", with the bound 1 / sqrt(fan-in) that torch's linear maps have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitruvius.contracts import Given, Site, Source, Tensors, Wanted, Wants


@dataclass(frozen=True)
class Free(Source):
    """Each tensor is a parameter of its own, and starts as its edit wants.

    As many numbers as the tensors have.
    """

    def tensors(
        self, wants: Mapping[str, Wants], sites: Mapping[str, Site], given: Given
    ) -> nn.Module:
        return FreeTensors(wants, given.rng)

    def count(self, wants: Mapping[str, Wants], sites: Mapping[str, Site]) -> int:
        return sum(one.size.numel() for names in wants.values() for one in names.values())


class FreeTensors(nn.Module):
    """The parameters; a dot in a path is a slash in their names."""

    def __init__(self, wants: Mapping[str, Wants], rng: torch.Generator) -> None:
        super().__init__()
        self.names = {
            path: {name: f"{path}/{name}".replace(".", "/") for name in names}
            for path, names in wants.items()
        }
        for path, names in wants.items():
            for name, wanted in names.items():
                self.register_parameter(self.names[path][name], nn.Parameter(start(wanted, rng)))

    def forward(self, route: Tensor | None = None) -> dict[str, Tensors]:
        return {
            path: {name: getattr(self, own) for name, own in names.items()}
            for path, names in self.names.items()
        }


def held(tensors: Mapping[str, Tensors]) -> FreeTensors:
    """Parameters with these values."""
    sizes = {path: {n: Wanted(t.shape) for n, t in made.items()} for path, made in tensors.items()}
    made = FreeTensors(sizes, torch.Generator())
    with torch.no_grad():
        for path, names in made().items():
            for name, parameter in names.items():
                parameter.copy_(tensors[path][name])
    return made


def start(wanted: Wanted, rng: torch.Generator) -> Tensor:
    """A tensor as it is to start, on the generator's device."""
    size, device = wanted.size, rng.device
    if wanted.start == "kaiming":
        drawn = torch.rand(size, generator=rng, device=device)
        return (2 * drawn - 1) / max(size[-1], 1) ** 0.5
    if wanted.start == "normal":
        return wanted.scale * torch.randn(size, generator=rng, device=device)
    if wanted.start == "identity":
        return torch.eye(size[-2], size[-1], device=device).expand(size).clone()
    return torch.full(size, float(wanted.start == "one"), device=device)
