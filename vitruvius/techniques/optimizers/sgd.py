"""Stochastic gradient descent with momentum.

Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning",
ICML, section 2.
Differs from the paper: the rate multiplies the velocity when it is applied, not when it is
gathered, so that a schedule acts at once; weight decay is added to the gradient.
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


@dataclass(frozen=True)
class SGD(Optimizer):
    """g += weight_decay w; v = momentum v + g; w -= learning_rate (g + momentum v, or v).

    The first v is the first g. Keeps one number for each parameter. Width ratios change nothing:
    gradients of hidden matrices shrink with the width by themselves.
    """

    learning_rate: float = hyper(0.1, log_uniform(1e-3, 1.0), "step, per unit of gradient")
    momentum: float = hyper(0.9, one_of(0.8, 0.9, 0.95, 0.99), "share of the velocity that stays")
    weight_decay: float = hyper(1e-4, log_uniform(1e-6, 1e-2), "pull to 0, added to the gradient")
    nesterov: bool = hyper(True, one_of(False, True), "look ahead along the velocity")

    def check(self) -> None:
        need_not_negative(self, learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        need_share(self, momentum=self.momentum)
        if self.nesterov and not self.momentum:
            raise ValueError(
                "SGD.nesterov looks ahead along the momentum, which is 0. "
                "Set nesterov=False or give a momentum."
            )

    def build(self, groups: Sequence[Group]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameter_groups(groups, self.learning_rate, self.weight_decay, width_power=0.0),
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            fused=fusible(groups),
        )
