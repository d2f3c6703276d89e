"""Two views of an item belong together, among all other views of a batch.

Source: Chen et al. 2020, "A simple framework for contrastive learning of visual representations",
arXiv:2002.05709, section 2.1, equation 1.
Differs from the paper: the projector has no batch norm, and its second layer no bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.contracts import (
    Corrupted,
    Given,
    Loss,
    Model,
    Progress,
    Stream,
)
from vitruvius.space import hyper, log_uniform
from vitruvius.techniques.objectives.projecting import (
    PROJECTOR,
    VIEW,
    TwoViews,
    exactly,
    features_of,
    kept_or,
    mlp,
    projected,
)


@dataclass(frozen=True)
class SimCLR(TwoViews):
    """-log softmax(cosine / temperature)[the other view of the item] over 2 B - 1 views (NT-Xent).

    In nats, the mean over both views of an item. The embedding is W2 relu(W1 h + b) of the vector h
    that the body gives: d hidden + hidden + hidden width parameters, which stay as head "projector"
    and which nothing after the pretraining reads but label-free probes.
    """

    temperature: float = hyper(0.1, log_uniform(0.02, 2.0), "what cosines are divided by")

    def check(self) -> None:
        super().check()
        if self.temperature <= 0:
            raise ValueError(f"SimCLR.temperature must be above 0; got {self.temperature}.")

    def build(self, model: Model) -> nn.Module:
        made = mlp((features_of(self, model), self.hidden, self.width), normed=False)
        return nn.ModuleDict({PROJECTOR: kept_or(made, model)})

    def loss(self, model: Model, parts: Any, seen: Corrupted, now: Progress, given: Given) -> Loss:
        streams = seen.batch.streams
        views = Stream(torch.cat((streams["input"].values, streams[VIEW].values)))
        both = projected(model, parts, views)
        one, two = both.chunk(2)
        with exactly(both.device):
            per_row = nt_xent(one, two, self.temperature)
        return Loss(per_row.mean(), per_row)


def nt_xent(
    one: Float[Tensor, "B d"], two: Float[Tensor, "B d"], temperature: float
) -> Float[Tensor, " B"]:
    """Of each pair the mean over its two views, in nats; of two embeddings of length above 0."""
    z = nn.functional.normalize(torch.cat((one, two)), dim=1)
    rows = torch.arange(len(z), device=z.device)
    scores = (z @ z.T / temperature).masked_fill(rows[:, None] == rows, -torch.inf)
    right = rows.roll(len(one))
    each = nn.functional.cross_entropy(scores, right, reduction="none")
    return each.view(2, -1).mean(0)
