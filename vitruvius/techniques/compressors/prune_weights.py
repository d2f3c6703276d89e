"""Set the least important weights to zero, over the whole model at once.

Source: Han et al. 2015, "Learning both weights and connections for efficient neural networks",
arXiv:1506.02626, section 3.2, with one threshold for all weights as in Chen et al. 2023, "DSEE",
arXiv:2111.00160, section 3.4, from where the importance by a task's own change is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import nn

from vitruvius.contracts import (
    Compressed,
    Compressor,
    Given,
    Model,
    Structure,
    base_parameters,
)
from vitruvius.space import hyper, one_of, uniform
from vitruvius.techniques.compressors.importance import RULES, importance, need_rule


@dataclass(frozen=True)
class PruneWeights(Compressor):
    """W * M, with M = 0 for the ``share`` of all entries that count least, to the entry.

    Pruned are the weights of linear maps in the bodies; biases, norms and tables stay. No number
    and no FLOP less: what is zero is stored. An adapter follows by ``restrict``, and what it adds
    is zero there too. The model is the base without its adapter, which is ``given.adapted``.
    """

    share: float = hyper(0.5, uniform(0.1, 0.9), "share of the entries that become zero")
    importance: str = hyper(
        "weight", one_of(*RULES), "by |W|, the change |dW|, both |W + dW|, or drawn"
    )

    def check(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"PruneWeights.share must be above 0 and below 1; got {self.share}.")
        need_rule("PruneWeights", self.importance)

    def compress(self, model: Model, given: Given) -> Compressed:
        weights = linear_weights(model)
        if not weights:
            raise ValueError("PruneWeights prunes linear maps, and no body here has one.")
        scores = importance(weights, self.importance, given)
        every = torch.cat([score.flatten() for score in scores.values()])
        stays = torch.ones_like(every, dtype=torch.bool)
        order = every.sort(stable=True).indices
        stays[order[: round(self.share * len(every))]] = False
        parts = stays.split([weight.numel() for weight in weights.values()])
        masks = {
            name: part.view(weight.shape)
            for (name, weight), part in zip(weights.items(), parts, strict=True)
        }
        made = copy_of(model)
        parameters = base_parameters(made)
        with torch.no_grad():
            for name, mask in masks.items():
                parameters[name].mul_(mask)
        return Compressed(made, Structure(masks))


def linear_weights(model: Model) -> dict[str, nn.Parameter]:
    """Of the linear maps in its bodies, by name of the parameter."""
    linear = {
        id(part.weight)
        for body in model.bodies.values()
        for part in body.modules()
        if isinstance(part, nn.Linear)
    }
    return {n: p for n, p in base_parameters(model).items() if id(p) in linear}


def copy_of(model: Model) -> Model:
    """Modules of its own; what was shared among them still is."""
    for stream, body in model.bodies.items():
        if "adapter" in body._modules:
            raise ValueError(
                f"A model is pruned without its adapter; to its body {stream!r} one is attached. "
                "Give the plain base, and the adapter as given.adapted."
            )
    bodies, heads = copy.deepcopy((dict(model.bodies), dict(model.heads)))
    return replace(model, bodies=bodies, heads=heads)
