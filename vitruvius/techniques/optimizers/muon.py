"""Momentum, orthogonalised; for matrices. The other parameters get AdamW.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
https://kellerjordan.github.io/posts/muon/; the size of its steps from Liu et al. 2025, "Muon is
Scalable for LLM Training", arXiv:2502.16982, section 2.2.
Differs from the papers: kernels of convolutions get AdamW too, since PyTorch's takes matrices
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
class Muon(Optimizer):
    """m = lerp(g, m, momentum); w -= learning_rate (weight_decay w + 0.2 sqrt(max(n, m)) UV').

    UV' is the nearest orthogonal matrix to the momentum looked ahead, roughly, by five steps of
    Newton and Schulz in bfloat16. Entries of a step have a root mean square of 0.2 learning rates,
    as AdamW's do, so that one rate serves both. Embeddings, heads, norms and biases get AdamW.
    Keeps one number for each entry of a matrix, two for each other parameter; a step costs about
    30 min(n, m)^2 max(n, m) FLOPs. Rates of matrices are divided by sqrt(width ratio).
    """

    learning_rate: float = hyper(1e-3, log_uniform(1e-4, 3e-2), "step, in units of the weights")
    weight_decay: float = hyper(0.1, log_uniform(1e-3, 1.0), "share lost per unit of rate")
    momentum: float = hyper(0.95, one_of(0.9, 0.95, 0.98), "memory of a matrix's gradient")
    beta1: float = hyper(0.9, one_of(0.8, 0.9, 0.95), "of AdamW: memory of the gradient")
    beta2: float = hyper(0.95, one_of(0.9, 0.95, 0.99), "of AdamW: memory of its square")

    def check(self) -> None:
        need_not_negative(self, learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        need_share(self, momentum=self.momentum, beta1=self.beta1, beta2=self.beta2)

    def build(self, groups: Sequence[Group]) -> torch.optim.Optimizer:
        matrices = [orthogonalised(group) for group in groups]
        made = [
            parameter_groups([group], self.learning_rate, self.weight_decay, 0.5 if matrix else 1.0)
            for group, matrix in zip(groups, matrices, strict=True)
        ]
        whole = [options for (options,) in made]
        parts: list[tuple[list[int], torch.optim.Optimizer]] = []
        if indices := [i for i, matrix in enumerate(matrices) if matrix]:
            muon = torch.optim.Muon(
                [whole[i] for i in indices],
                lr=self.learning_rate,
                momentum=self.momentum,
                adjust_lr_fn="match_rms_adamw",
            )
            parts.append((indices, muon))
        if indices := [i for i, matrix in enumerate(matrices) if not matrix]:
            adamw = torch.optim.AdamW(
                [whole[i] for i in indices],
                lr=self.learning_rate,
                betas=(self.beta1, self.beta2),
                eps=EPSILON,
                fused=fusible([groups[i] for i in indices]),
            )
            parts.append((indices, adamw))
        return _Together(whole, parts)


def orthogonalised(group: Group) -> bool:
    """Whether its parameters are matrices between hidden features."""
    return group.kind == "matrix" and all(
        p.ndim == 2 and p.is_floating_point() for p in group.parameters
    )


class _Together(torch.optim.Optimizer):
    """Several optimizers as one, whose groups and state are those of its parts."""

    def __init__(
        self, groups: list[dict[str, Any]], parts: list[tuple[list[int], torch.optim.Optimizer]]
    ) -> None:
        super().__init__(groups, {})  # PyTorch keeps the dictionaries that it is given
        self.parts = parts
        self._share()

    def _share(self) -> None:
        for indices, part in self.parts:
            part.param_groups = [self.param_groups[i] for i in indices]
            part.state = self.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for _, part in self.parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(dict(state_dict))
        self._share()
