"""Embeddings of two views alike, each feature alive, no two features the same.

Source: Bardes, Ponce & LeCun 2022, "VICReg: Variance-invariance-covariance regularization for
self-supervised learning", arXiv:2105.04906, section 4.1 and algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.contracts import (
    Corrupted,
    Given,
    Loss,
    Model,
    Progress,
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

EPSILON = 1e-4  # added to a variance before its root
TARGET = 1.0  # deviation of a feature that costs nothing


@dataclass(frozen=True)
class VICReg(TwoViews):
    """invariance mean (z - z')^2 + variance [v(z) + v(z')] + covariance [c(z) + c(z')].

    v = mean over features of max(0, 1 - sqrt(Var + 1e-4)), c = the squares off the diagonal of the
    covariance of a batch, summed, over the features; variances are those of B - 1. The embedding z
    is what two layers with batch norm and a linear one make of the body's vector, each view in a
    pass of its own: d hidden + hidden^2 + hidden width + 4 hidden parameters, which stay as head
    "projector" and which nothing after the pretraining reads but label-free probes.
    """

    invariance: float = hyper(25.0, log_uniform(1.0, 100.0), "weight of the distance")
    variance: float = hyper(
        25.0, log_uniform(1.0, 100.0), "weight of features that vary too little"
    )
    covariance: float = hyper(1.0, log_uniform(0.01, 25.0), "weight of features that vary together")

    def check(self) -> None:
        super().check()
        for name in ("invariance", "variance", "covariance"):
            if getattr(self, name) < 0:
                raise ValueError(f"VICReg.{name} must not be negative; got {getattr(self, name)}.")

    def build(self, model: Model) -> nn.Module:
        widths = (features_of(self, model), self.hidden, self.hidden, self.width)
        return nn.ModuleDict({PROJECTOR: kept_or(mlp(widths, normed=True), model)})

    def loss(self, model: Model, parts: Any, seen: Corrupted, now: Progress, given: Given) -> Loss:
        streams = seen.batch.streams
        if len(seen.batch.rows) < 2:
            raise ValueError("VICReg needs batches of at least 2 items; got 1.")
        one, two = (projected(model, parts, streams[name]) for name in ("input", VIEW))
        with exactly(one.device):
            apart = (one - two).square().mean(1)
            dead = dullness(one) + dullness(two)
            alike = redundancy(one) + redundancy(two)
            per_row = self.invariance * apart + self.variance * dead + self.covariance * alike
        terms = {"invariance": apart.mean(), "variance": dead, "covariance": alike}
        return Loss(per_row.mean(), per_row, {name: term.detach() for name, term in terms.items()})


def dullness(z: Float[Tensor, "B d"]) -> Float[Tensor, ""]:
    """Mean over features of max(0, 1 - deviation over the batch)."""
    return (TARGET - (z.var(0) + EPSILON).sqrt()).relu().mean()


def redundancy(z: Float[Tensor, "B d"]) -> Float[Tensor, ""]:
    """Squares of the covariances of two different features, summed, over the features."""
    z = z - z.mean(0)
    square = (z.T @ z / (len(z) - 1)).square()
    return (square.sum() - square.diagonal().sum()) / z.shape[1]
