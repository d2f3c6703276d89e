"""How much an entry of a weight counts, so that the least can go.

Source: Chen et al. 2023, "DSEE: Dually sparsity-embedded efficient tuning of pre-trained language
models", arXiv:2111.00160, section 3.4: the size of the weight, of what a task has added to it, or
of both together.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vitruvius.contracts import Given, Tensors

RULES = ("weight", "change", "both", "random")


def importance(weights: Mapping[str, nn.Parameter], rule: str, given: Given) -> Tensors:
    """Of each entry: |W|, |dW|, |W + dW| or a drawn number, all at least 0.

    dW is what ``given.adapted`` has added by now to the base that the weights are of.
    """
    if rule == "random":
        place = given.rng.device
        return {
            name: torch.rand(weight.shape, generator=given.rng, device=place).to(weight.device)
            for name, weight in weights.items()
        }
    deltas: Tensors = {}
    if rule != "weight":
        if "adapted" not in vars(given):
            raise ValueError(
                f"An importance by {rule!r} needs the edits of a training: give adapted. "
                "Without one, take 'weight' or 'random'."
            )
        deltas = given.adapted.deltas()
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        weight = weight.detach()
        delta = deltas.get(name)
        base = torch.zeros_like(weight) if rule == "change" else weight
        found[name] = (base if delta is None else base + delta.to(weight)).abs()
    return found


def need_rule(name: str, rule: str) -> None:
    if rule not in RULES:
        raise ValueError(f"{name}.importance must be one of {', '.join(RULES)}; got {rule!r}.")
