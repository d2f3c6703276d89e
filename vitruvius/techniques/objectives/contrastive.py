"""Pairs that belong together, among all others of a batch.

Source: van den Oord, Li & Vinyals 2018, "Representation learning with contrastive predictive
coding", arXiv:1807.03748, section 2.3; both ways and with a learned scale from Radford et al. 2021,
"CLIP", arXiv:2103.00020, section 2.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.contracts import Corrupted, Given, Layout, Loss, Model, Objective, Progress, Stream
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.objectives.token_head import loss_of, width_of

HIGHEST = 100.0  # of a learned scale: CLIP's


@dataclass(frozen=True)
class Contrastive(Objective):
    """-log softmax(scale * cosine)[its own text] of each row of "input" among all of "text".

    Both towers are one body where the model has no second. Texts with the same
    ``fields["group"]`` are not each other's negatives. Rows hold one document each.
    """

    symmetric: str = hyper("mean", one_of("no", "mean", "sum"), "the way back: left out, or added")
    scale: float = hyper(20.0, log_uniform(5.0, 100.0), "1 / temperature, at first where learned")
    learned: bool = hyper(False, one_of(False, True), "whether the scale is trained, up to 100")
    pool: str = hyper("mean", one_of("mean", "first"), "what stands for a document: tokens")
    width: int | None = hyper(
        None, one_of(None, 64, 128, 256), "of a map after pooling, kept as head; None: no map"
    )
    reads: ClassVar[str] = "pairs"

    def check(self) -> None:
        for field, options in (("symmetric", ("no", "mean", "sum")), ("pool", ("mean", "first"))):
            if getattr(self, field) not in options:
                raise ValueError(
                    f"Contrastive.{field} is one of {', '.join(map(repr, options))}; "
                    f"got {getattr(self, field)!r}."
                )
        if not 0 < self.scale <= HIGHEST:
            raise ValueError(
                f"Contrastive.scale must be above 0 and at most {HIGHEST:g}; got {self.scale}."
            )
        if self.width is not None and self.width < 1:
            raise ValueError(f"Contrastive.width must be at least 1; got {self.width}.")

    def build(self, model: Model) -> nn.Module:
        parts = nn.ModuleDict()
        if self.width is not None:
            known = model.heads.get("projector")
            width = width_of(model.bodies["input"])
            if not (isinstance(known, nn.Linear) and known.weight.shape == (self.width, width)):
                known = nn.Linear(width, self.width, bias=False)
            parts["projector"] = known
        if self.learned:
            parts["scale"] = Scale(self.scale)
        return parts

    def heads(self, parts: Any) -> Mapping[str, nn.Module]:
        return {"projector": parts["projector"]} if "projector" in parts else {}

    def loss(self, model: Model, parts: Any, seen: Corrupted, now: Progress, given: Given) -> Loss:
        streams, bodies = seen.batch.streams, model.bodies
        if "text" not in streams:
            raise ValueError(
                "Contrastive learns from pairs: a batch has the streams 'input' and 'text'; got "
                f"{sorted(streams)}. Load pairs, or mine them first."
            )
        towers = (bodies["input"], bodies.get("text", bodies["input"]))
        one, two = (
            self._vectors(body, streams[name], parts)
            for body, name in zip(towers, ("input", "text"), strict=True)
        )
        scores = one @ two.T * (parts["scale"]() if self.learned else self.scale)
        group = seen.batch.fields.get("group")
        if group is not None:
            same = (group[:, None] == group) & ~torch.eye(
                len(group), dtype=torch.bool, device=group.device
            )
            scores = scores.masked_fill(same, -torch.inf)
        there = -scores.log_softmax(1).diagonal()
        back = -scores.log_softmax(0).diagonal()
        return loss_of(
            {"no": there, "mean": (there + back) / 2, "sum": there + back}[self.symmetric]
        )

    def _vectors(self, body: nn.Module, stream: Stream, parts: Any) -> Float[Tensor, "B d"]:
        """Of length 1."""
        hidden = pooled(body(stream).hidden.float(), stream.layout, self.pool)
        if "projector" in parts:
            hidden = parts["projector"](hidden)
        return nn.functional.normalize(hidden.float(), dim=-1)


class Scale(nn.Module):
    """exp of a learned number, at most 100."""

    parameter_kinds = {"log": "gate"}  # noqa: RUF012
    decays = {"log": False}  # noqa: RUF012

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = start
        self.log = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.log, math.log(self.start))

    def forward(self) -> Tensor:
        return self.log.exp().clamp(max=100.0)


def pooled(hidden: Float[Tensor, "B T d"], layout: Layout, how: str) -> Float[Tensor, "B d"]:
    """The mean over tokens that are no padding, or the first of them."""
    present = layout.segments > 0
    if how == "first":
        return hidden[torch.arange(len(hidden)), present.int().argmax(1)]
    weight = present.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
