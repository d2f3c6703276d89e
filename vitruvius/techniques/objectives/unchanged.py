"""Keeping edited parts of a model close to what they were, on texts of another kind.

Source: Diao et al. 2023, "Mixture-of-Domain-Adapters", arXiv:2306.05406, section 3.2 (sampling
loss).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitruvius.contracts import Branch, Corrupted, Given, Loss, Model, Objective, Progress

ORIGINAL = "original"


@dataclass(frozen=True)
class Unchanged(Objective):
    """Mean square of what branches change: over tokens, features and edited sites.

    What a site would give for the same input without its branch is the target, and gets no
    gradient. Costs one pass. The first stage of domains' adapters is
    ``Sum(Term(MaskedTokens(), 0.5), Term(Unchanged(), 1.0, "general"))``.
    """

    reads: ClassVar[str] = "tokens"

    def loss(self, model: Model, parts: Any, seen: Corrupted, now: Progress, given: Given) -> Loss:
        stream = seen.batch.streams["input"]
        taps = _asked(model, stream)
        names = sorted(name for name in taps if f"{name}.{ORIGINAL}" in taps)
        present = (stream.layout.segments > 0).float()
        tokens = present.sum(1).clamp(min=1)
        each = [(_change(taps, name) * present).sum(1) / tokens for name in names]
        per_row = torch.stack(each).mean(0)
        return Loss(per_row.mean(), per_row)


def _change(taps: Any, name: str) -> Tensor:
    """Mean over features, at each token."""
    return (taps[name].float() - taps[f"{name}.{ORIGINAL}"].detach().float()).square().mean(-1)


def _asked(model: Model, stream: Any) -> Any:
    body: Any = model.bodies["input"]
    parts = body._modules.get("adapter")
    found = () if parts is None else parts.children()
    if not any(isinstance(getattr(part, "edit", None), Branch) for part in found):
        raise ValueError(
            "Unchanged compares sites that have a branch with what they were; this model has none. "
            "Attach DomainMixture or another branch first."
        )
    return body(stream, frozenset({ORIGINAL})).taps
