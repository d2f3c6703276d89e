"""What initializers share that draw weight matrices and leave all else at its neutral value."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from vitruvius.contracts import Given, Inherited, Initializer, Model
from vitruvius.space import hyper, log_uniform
from vitruvius.techniques.initializers.default import modules, reset_all

DRAWN = ("matrix", "kernel", "head")


@dataclass(frozen=True)
class WeightInitializer(Initializer):
    """Draws the weights of linear layers and convolutions and sets their biases to 0.

    So it does for parameters that a class names as matrix, kernel or head in ``parameter_kinds``.
    All others (norms, embeddings) get what their layer draws for itself.
    """

    gain: float = hyper(1.0, log_uniform(0.25, 4.0), "factor of all weights")

    def check(self) -> None:
        if not self.gain > 0:
            raise ValueError(f"{type(self).__name__}.gain must be above 0; got {self.gain}.")

    def initialize(self, model: Model, given: Given) -> Inherited:
        reset_all(model, given.rng)
        with torch.no_grad():
            for part in modules(model):
                for name, weight, inputs, outputs in weights_of(part):
                    drawn = torch.empty(weight.shape, device=given.rng.device)
                    self.draw(drawn, inputs, outputs, given.rng)
                    weight.copy_(drawn)
                    bias = getattr(part, "bias", None)
                    if name == "weight" and isinstance(bias, Tensor):
                        bias.zero_()
        return Inherited()

    @abstractmethod
    def draw(self, weight: Tensor, inputs: int, outputs: int, rng: torch.Generator) -> None:
        """Fill a weight that sums ``inputs`` numbers (fan-in) and feeds ``outputs`` (fan-out)."""


def weights_of(part: nn.Module) -> Iterator[tuple[str, Tensor, int, int]]:
    """Name, weight, fan-in and fan-out of a layer's own weights.

    The fan counts what one output really sums: of grouped convolutions the channels of a group.
    """
    kinds = getattr(part, "parameter_kinds", {})
    for name, weight in part.named_parameters(recurse=False):
        known = isinstance(part, (nn.Linear, _ConvNd)) and name == "weight"
        if weight.ndim < 2 or not (known or kinds.get(name) in DRAWN):
            continue
        places = weight[0, 0].numel()
        first, second = weight.shape[0] * places, weight.shape[1] * places
        groups = getattr(part, "groups", 1)
        if isinstance(part, _ConvTransposeNd):
            yield name, weight, first // groups, second
        else:
            yield name, weight, second, first // groups
