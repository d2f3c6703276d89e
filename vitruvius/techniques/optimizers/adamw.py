"""Adam with decoupled weight decay.

Source: Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization", arXiv:1711.05101,
algorithm 2.
Differs from the paper: the decay is multiplied by the learning rate, as everywhere in practice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vitruvius.contracts import Group, Optimizer
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.optimizers.parameter_groups import (
    fusible,
    need_not_negative,
    need_share,
    parameter_groups,
)

EPSILON = 1e-8


@dataclass(frozen=True)
class AdamW(Optimizer):
    """w -= learning_rate (weight_decay w + m / (sqrt(v) + 1e-8)).

    m and v are running means of g and g^2 with weights beta1 and beta2, divided by 1 - beta^step.
    Keeps two numbers for each parameter. The rate of a group is divided by its width ratio.
    """

    learning_rate: float = hyper(1e-3, log_uniform(1e-5, 3e-2), "step, in units of the weights")
    weight_decay: float = hyper(0.01, log_uniform(1e-4, 1.0), "share lost per unit of rate")
    beta1: float = hyper(0.9, one_of(0.8, 0.9, 0.95), "memory of the gradient")
    beta2: float = hyper(0.999, one_of(0.95, 0.98, 0.99, 0.999), "memory of its square")

    def check(self) -> None:
        need_not_negative(self, learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        need_share(self, beta1=self.beta1, beta2=self.beta2)

    def build(self, groups: Sequence[Group]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameter_groups(groups, self.learning_rate, self.weight_decay, width_power=1.0),
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2),
            eps=EPSILON,
            fused=fusible(groups),
        )
