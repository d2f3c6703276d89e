"""What objectives of two views share: the views, and the map that is thrown away after them.

Source: Chen et al. 2020, "A simple framework for contrastive learning of visual representations",
arXiv:2002.05709, sections 2.1 and 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.contracts import (
    Batch,
    Corrupted,
    Given,
    Model,
    Objective,
    Progress,
    Stream,
    View,
)
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.pooling import one_vector, present_in
from vitruvius.techniques.views import ImageView

PROJECTOR = "projector"  # its name among the heads of a model
VIEW = "view"  # the stream of the second view


@dataclass(frozen=True, kw_only=True)
class TwoViews(Objective):
    """Of two views of each item; the projector stays as a head that nothing after the pretraining
    reads but label-free probes."""

    hidden: int = hyper(256, one_of(64, 128, 256, 512), "features between the projector's layers")
    width: int = hyper(128, one_of(32, 64, 128), "features of an embedding")
    view: View = hyper(ImageView(), ImageView.space(), "what is drawn of an item, twice")
    reads: ClassVar[str] = "items"
    needs: ClassVar[tuple[str, ...]] = ("rng",)

    def check(self) -> None:
        for name in ("hidden", "width"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{type(self).__name__}.{name} must be at least 1; got {getattr(self, name)}."
                )

    def heads(self, parts: Any) -> Mapping[str, nn.Module]:
        return {PROJECTOR: parts[PROJECTOR]}

    def corrupt(self, batch: Batch, now: Progress, given: Given) -> Corrupted:
        """One view of each item in the stream "input", another in "view"."""
        one, two = self.view.view(batch, given.rng), self.view.view(batch, given.rng)
        streams = {**batch.streams, "input": one.streams["input"], VIEW: two.streams["input"]}
        return Corrupted(replace(batch, streams=streams), batch.fields)


def features_of(owner: Any, model: Model) -> int:
    """Features of the vector that the body gives for an item, found by running it on one."""
    body: Any = model.bodies["input"]
    shape = getattr(body, "shape", None)
    if shape is None:
        raise ValueError(
            f"{type(owner).__name__} needs a network of items of one shape; a "
            f"{type(body).__name__} names none. Take PretrainItems(model=...) or Train before it."
        )
    training = body.training
    device = next((p.device for p in body.parameters()), torch.device("cpu"))
    with torch.no_grad():
        hidden = body.eval()(Stream(torch.zeros(1, *shape, device=device))).hidden
    body.train(training)
    return one_vector(hidden).shape[-1]


def mlp(widths: tuple[int, ...], normed: bool) -> nn.Sequential:
    """Linear layers with ReLU between, with batch norm before it where ``normed``; the last is
    linear alone. A bias stands only where nothing after it takes it away."""
    parts: list[nn.Module] = []
    for inside, outside in pairwise(widths[:-1]):
        parts.append(nn.Linear(inside, outside, bias=not normed))
        if normed:
            parts.append(nn.BatchNorm1d(outside))
        parts.append(nn.ReLU())
    return nn.Sequential(*parts, nn.Linear(widths[-2], widths[-1], bias=False))


def kept_or(made: nn.Module, model: Model) -> nn.Module:
    """The model's projector where it has one of this shape, else the one that was made."""
    known = model.heads.get(PROJECTOR)
    if known is None or type(known) is not type(made):
        return made
    there, wanted = (
        {name: value.shape for name, value in one.state_dict().items()} for one in (known, made)
    )
    return known if there == wanted else made


def exactly(device: torch.device) -> AbstractContextManager[object]:
    """Inside, sums over a batch keep the precision of the weights, whatever surrounds them."""
    if device.type == "meta":  # where no precision is chosen, since nothing is computed
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def projected(model: Model, parts: Any, stream: Stream) -> Float[Tensor, "B d"]:
    """The embedding of each item: body, mean over places, projector; float32."""
    outputs = model.bodies["input"](stream)
    hidden = outputs.hidden
    return parts[PROJECTOR](one_vector(hidden, present_in(hidden, stream))).float()
