"""Frozen features, a random projection, and ridge regression that adds up over tasks.

Source: McDonnell et al. 2023, "RanPAC: Random Projections and Pre-trained Models for Continual
Learning", NeurIPS, arXiv:2307.02251, section 4 and algorithm 1; the choice of the ridge is that of
the authors' code.
Differs from the paper: the features are those of the body as it comes, without training of adapters
on the first task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvius.contracts import Effort, Given, Learner, Learning, Lesson, Outputs
from vitruvius.space import hyper, log_uniform, one_of, optional
from vitruvius.techniques.learners.growing import features

RIDGES = tuple(10.0**k for k in range(-8, 9))
TAUGHT = 0.8  # of a task's items, where the ridge is chosen by the rest


@dataclass(frozen=True)
class RanPAC(Learner):
    """h = relu(f P), P normal [d width]; G += h^T h, Q += h^T Y; scores h (G + ridge I)^-1 Q.

    f is the body's hidden vector; nothing is trained by gradient and no item is kept, so the answer
    does not depend on the order of tasks. Sums are float64: 8 width^2 bytes, 800 MB at the paper's
    width of 10,000. A task takes 2 N width^2 FLOPs, and width^3 / 3 for the solution.
    """

    width: int = hyper(
        2_000, one_of(256, 500, 1_000, 2_000, 5_000, 10_000), "projected features (M)"
    )
    ridge: float | None = hyper(
        None,
        optional(log_uniform(1e-2, 1e6)),
        "added to the diagonal of G; None: of 1e-8, 1e-7, ..., 1e8 the one with the least squared "
        "error on a fifth of the task",
    )

    def check(self) -> None:
        if self.width < 1 or (self.ridge is not None and self.ridge <= 0):
            raise ValueError(
                "RanPAC needs a width of at least 1 and a ridge above 0; "
                f"got width={self.width}, ridge={self.ridge}. To choose the ridge by the data, "
                "leave it None."
            )

    def begin(self, body: nn.Module, memory: int, given: Given) -> Learning:
        return _Projected(body, self, given.rng)


class ProjectedRidge(nn.Module):
    """relu(hidden P) W, [B classes]."""

    projection: Tensor
    weight: Tensor

    def __init__(self, projection: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("projection", projection)
        self.register_buffer("weight", weight)

    def forward(self, outputs: Outputs, batch: Any = None) -> Tensor:
        return (outputs.hidden @ self.projection).relu() @ self.weight


class _Projected(Learning):
    def __init__(self, body: nn.Module, method: RanPAC, rng: torch.Generator) -> None:
        self.body, self.method, self.rng = body, method, rng
        self.answers: ProjectedRidge | None = None
        self.projection: Tensor | None = None
        self.gram = self.moments = torch.zeros(0, 0)

    @property
    def head(self) -> nn.Module:
        if self.answers is None:
            raise ValueError("A learner answers after its first task: call learn() before.")
        return self.answers

    def learn(self, lesson: Lesson) -> Effort:
        width = self.method.width
        f = features(self.body, lesson.inputs)
        if self.projection is None:
            drawn = torch.randn(f.shape[1], width, generator=self.rng)
            self.projection = drawn.to(f)
            self.gram = f.new_zeros((width, width), dtype=torch.float64)
            self.moments = f.new_zeros((width, 0), dtype=torch.float64)
        h = (f @ self.projection).relu().double()
        y = F.one_hot(lesson.label, lesson.classes).double()
        self.gram += h.T @ h
        self.moments = F.pad(self.moments, (0, lesson.classes - self.moments.shape[1])) + h.T @ y
        ridge, solved = self.method.ridge, width**3 / 3
        if ridge is None:
            order = torch.randperm(len(h), generator=self.rng).to(h.device)
            ridge = best_ridge(h[order], y[order])
            solved += 9 * width**3
        self.answers = ProjectedRidge(
            self.projection, solution(self.gram, self.moments, ridge).to(f.dtype)
        )
        flops = 2.0 * len(h) * width * (f.shape[1] + width + lesson.classes) + 2 * solved
        return Effort(read=len(h), flops=flops)


def solution(
    gram: Float[Tensor, "M M"], moments: Float[Tensor, "M classes"], ridge: float
) -> Float[Tensor, "M classes"]:
    """(G + ridge I)^-1 Q."""
    lifted = gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(lifted, moments)


def best_ridge(h: Float[Tensor, "N M"], y: Float[Tensor, "N classes"]) -> float:
    """Taught by the first four fifths, with the least mean squared error on the rest.

    One eigendecomposition serves all ridges. With fewer than two items the largest.
    """
    taught = int(TAUGHT * len(h))
    if not 0 < taught < len(h):
        return RIDGES[-1]
    values, vectors = torch.linalg.eigh(h[:taught].T @ h[:taught])
    moments = vectors.T @ (h[:taught].T @ y[:taught])
    held = h[taught:] @ vectors
    errors = []
    for ridge in RIDGES:
        answer = held @ (moments / (values.clamp(min=0) + ridge)[:, None])
        errors.append(float((answer - y[taught:]).square().mean()))
    return RIDGES[errors.index(min(errors))]
