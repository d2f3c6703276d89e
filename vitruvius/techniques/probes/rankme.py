"""How many dimensions a model's vectors fill: a score of pretrained models without labels.

Source: Garrido, Balestriero, Najman & LeCun 2023, "RankMe: Assessing the downstream performance of
pretrained self-supervised representations by their rank", arXiv:2210.02885, section 3.1, equation
1.
Differs from the paper: singular values are the roots of the eigenvalues of Z' Z, which is summed in
float64 batch by batch, so that any number of items fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vitruvius.contracts import Better, Documents, Given, Measurement, Model, Probe, Subject
from vitruvius.space import hyper, one_of
from vitruvius.techniques.probes.looking import PROJECTOR, untouched, vector_of

EPSILON = 1e-7  # added to each share: the paper's, of float32
LAYERS = ("embedding", "representation")
POOLS = ("mean", "first", "last")


@dataclass(frozen=True)
class RankMe(Probe):
    """exp(-sum p log p) with p = s / sum(s) + 1e-7 over the singular values s of vectors Z [N K].

    From 1 to K: K where all directions are filled alike, 1 where all vectors lie on a line. Higher
    is better among models of one objective, one width and the same data, and of those alone; a high
    rank is needed for a good model and does not make one, so choose by it and never train on it.
    Z are the vectors of ``items`` of the training part, unchanged, in evaluation; the paper takes
    25,600 for K = 2,048, and at least 10 K is a good rule. Reads no labels. N K^2 + K^3 FLOPs
    beside the forward passes.
    """

    layer: str = hyper("embedding", one_of(*LAYERS), "what is looked at: after or before projector")
    items: int = hyper(25_600, None, "of the data, at most, evenly spread over them")
    centred: bool = hyper(False, one_of(False, True), "whether the mean is taken off first")
    pool: str = hyper("mean", one_of(*POOLS), "what stands for a text: tokens")
    across: bool = hyper(False, None, "rank models of other objectives, widths and data as well")

    name: ClassVar[str] = "rankme"
    better: ClassVar[Better | None] = "higher"
    part: ClassVar[str] = "train"
    needs: ClassVar[tuple[str, ...]] = ("batches",)

    def check(self) -> None:
        for field, options in (("layer", LAYERS), ("pool", POOLS)):
            if getattr(self, field) not in options:
                raise ValueError(
                    f"RankMe.{field} is one of {', '.join(map(repr, options))}; "
                    f"got {getattr(self, field)!r}."
                )
        if self.items < 2:
            raise ValueError(f"RankMe.items must be at least 2; got {self.items}.")

    def sample(self, documents: Documents) -> Documents:
        count = len(documents)
        if count <= self.items:
            return documents
        return documents.take(np.linspace(0, count - 1, self.items).astype(np.int64))

    def measure(self, subject: Subject, given: Given) -> Measurement:
        if len(subject.models) != 1 or len(subject.documents) != 1:
            raise ValueError(
                f"RankMe looks at one model and one set of documents; got {len(subject.models)} "
                f"and {len(subject.documents)}. Measure one after the other."
            )
        model, seen = subject.models[0], Moments()
        if self.layer == "embedding" and PROJECTOR not in model.heads:
            raise ValueError(
                "RankMe looks at embeddings, and this model has no head 'projector'; there is "
                f"{sorted(model.heads) or 'none'}. Take RankMe('representation')."
            )
        with untouched(model):
            for batch in given.batches():
                seen.add(vector_of(model, batch, self.layer, self.pool))
        value, sigma = seen.rank(self.centred)
        return Measurement(
            self.name,
            value,
            self.better,
            items=seen.items,
            comparable=self._key(model, subject.documents[0], len(sigma)),
            details={"singular values": sigma.numpy()},
        )

    def _key(self, model: Model, documents: Documents, features: int) -> str:
        """What must be equal for two values to be ranked; empty where all may be."""
        if self.across:
            return ""
        by = " and ".join(model.lineage.objectives) or "no pretraining"
        around = ", centred" if self.centred else ""
        return (
            f"{by}, {features} features of the {self.layer} ({self.pool}{around}), "
            f"data {documents.digest[:12]}"
        )


class Moments:
    """Z' Z and the sum of vectors that come one batch after the other, in float64."""

    def __init__(self) -> None:
        self.items = 0
        self.square = self.sum = torch.zeros((), dtype=torch.float64)

    def add(self, vectors: Float[Tensor, "B K"]) -> None:
        z = vectors.double()
        if not bool(z.isfinite().all()):
            raise ValueError(
                "RankMe needs vectors of finite numbers; got NaN or infinity. "
                "The training diverged: take a lower learning rate."
            )
        self.square = self.square.to(z) + z.T @ z
        self.sum = self.sum.to(z) + z.sum(0)
        self.items += len(z)

    def rank(self, centred: bool = False) -> tuple[float, Float64[Tensor, " K"]]:
        """The effective rank, and the singular values, largest first."""
        features = self.sum.numel()
        if not self.items or self.items < features:
            raise ValueError(
                "RankMe needs at least as many items as features, better 10 times as many; got "
                f"{self.items} items of {features if self.items else 0} features. Give more items, "
                "or a narrower projector."
            )
        square = self.square
        if centred:
            square = square - self.sum.outer(self.sum) / self.items
        sigma = torch.linalg.eigvalsh(square).clamp(min=0).sqrt().flip(0).cpu()
        return effective_rank(sigma), sigma


def rankme(vectors: Float[Tensor, "N K"], centred: bool = False) -> float:
    """RankMe of vectors that are at hand."""
    seen = Moments()
    seen.add(vectors)
    return seen.rank(centred)[0]


def effective_rank(sigma: Float[Tensor, " K"]) -> float:
    """exp of the entropy in nats of singular values over their sum, each share plus 1e-7."""
    sigma = sigma.double()
    total = sigma.sum()
    if total <= 0:
        raise ValueError(
            "RankMe needs vectors that are not all zero, or all the same where centred; got only "
            "such: the model has collapsed."
        )
    shares = sigma / total + EPSILON
    return float(torch.exp(-(shares * shares.log()).sum()))
