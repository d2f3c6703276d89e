"""Low-rank updates with a few free entries beside them.

Source: Chen et al. 2023, "DSEE: Dually sparsity-embedded efficient tuning of pre-trained language
models", arXiv:2111.00160, sections 3.2 and 3.3 and algorithm 1; the decomposition is GreBsmo of
Zhou & Tao 2013, "Greedy bilateral sketch, completion & smoothing", section 3.
Differs from the paper: the low-rank part of the decomposition grows by one in each of few rounds,
since after many it takes up the large entries too; its threshold is in units of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitruvius.contracts import Part, Site, Sites, Source, Tensors, Wanted, Wants, WeightDelta
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.adapters.low_rank import ATTENTION, LINEARS, QUERIES_AND_VALUES
from vitruvius.techniques.sources import Free

SUPPORTS = ("robust_pca", "random", "largest")


@dataclass(frozen=True)
class LowRankSparse(WeightDelta):
    """Train W + (alpha / rank) (B A + S) in place of W, where S has N entries at fixed places.

    rank (in + out) + N numbers for each matrix. B = S = 0 at the start, so that the model is
    unchanged. The places are those of the largest entries that no low-rank matrix explains
    ("robust_pca"), drawn, or those of the largest entries of W: without data, before training.
    """

    rank: int = hyper(4, one_of(1, 2, 4, 8, 16, 32), "rank of the update")
    entries: int = hyper(64, one_of(16, 64, 256, 1024), "free entries N of each matrix")
    support: str = hyper("robust_pca", one_of(*SUPPORTS), "which entries are free")
    alpha: float = hyper(16.0, log_uniform(1.0, 64.0), "the update counts alpha / rank")
    sites: Sites = hyper(
        QUERIES_AND_VALUES, one_of(QUERIES_AND_VALUES, ATTENTION, LINEARS), "whose weights"
    )
    source: Source = hyper(Free(), None, "who makes A, B and the values of S")

    knob: ClassVar[str] = "rank"
    further: ClassVar[tuple[str, ...]] = ("entries",)

    def check(self) -> None:
        for name in ("rank", "entries"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"LowRankSparse.{name} must be at least 1; got {getattr(self, name)}. "
                    "For no free entries, take LowRank."
                )
        if self.alpha <= 0:
            raise ValueError(f"LowRankSparse.alpha must be above 0; got {self.alpha}.")
        if self.support not in SUPPORTS:
            raise ValueError(
                f"LowRankSparse.support must be one of {', '.join(SUPPORTS)}; got {self.support!r}."
            )

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        if len(site.sizes.get("weight", ())) != 2:
            return {}
        out, into = site.sizes["weight"]
        for name, most in (("rank", min(out, into)), ("entries", out * into)):
            if getattr(self, name) > most:
                raise ValueError(
                    f"LowRankSparse.{name} must be at most {most} for {site.path} of {out} x "
                    f"{into}; got {getattr(self, name)}."
                )
        return {
            "a": Wanted(torch.Size((self.rank, into)), "normal"),
            "b": Wanted(torch.Size((out, self.rank))),
            "values": Wanted(torch.Size((self.entries,))),
        }

    def fixed(self, weight: Tensor, rng: torch.Generator) -> Tensors:
        if self.support == "random":
            places = torch.randperm(weight.numel(), generator=rng, device=rng.device)
            places = places[: self.entries].to(weight.device)
        else:
            found = weight if self.support == "largest" else sparse_part(weight, rng)
            places = largest(found, self.entries)
        return {"places": places.sort().values}

    def delta(self, t: Tensors, weight: Tensor) -> Tensor:
        made = (t["b"] @ t["a"]).flatten(-2)
        made = made.index_add(-1, t["places"], t["values"])
        return self.alpha / self.rank * made.unflatten(-1, weight.shape)

    def forward(self, t: Tensors, x: Float[Tensor, "B T in"], module: nn.Module) -> Tensor | None:
        if not isinstance(module, nn.Linear):
            return None
        made, values = (x @ t["a"].mT) @ t["b"].mT, t["values"]
        into = module.in_features
        each = x[..., t["places"] % into] * (values if values.ndim == 1 else values.unsqueeze(1))
        made = made.index_add(-1, t["places"] // into, each.to(made.dtype))
        return self.alpha / self.rank * made

    def cut(self, t: Tensors, shape: torch.Size, axis: int, kept: Tensor) -> Tensors:
        here = torch.full((shape[axis],), -1, device=kept.device)
        here[kept] = torch.arange(len(kept), device=kept.device)
        places = [t["places"] // shape[1], t["places"] % shape[1]]
        places[axis] = here[places[axis]]
        stays = places[axis] >= 0
        into = len(kept) if axis == 1 else shape[1]
        name = "a" if axis else "b"
        return {
            **t,
            name: t[name].index_select(axis, kept),
            "values": t["values"][stays],
            "places": (places[0] * into + places[1])[stays],
        }


def sparse_part(
    weight: Float[Tensor, "out in"],
    rng: torch.Generator,
    rounds: int | None = None,
    sweeps: int = 2,
    share: float = 0.3,
) -> Float[Tensor, "out in"]:
    """S of weight = L + S + noise: what no matrix of low rank explains, zero where it is small.

    In each round L has a rank one higher and S begins at 0; ``sweeps`` times the factors of L are
    set to what fits weight - S best and S to what is left of the weight, where that exceeds
    ``share`` of the median of |weight|. Rounds: a 16th of the smaller side, at least 5.
    """
    rounds = max(5, min(weight.shape) // 16) if rounds is None else rounds
    rounds = min(rounds, *weight.shape)
    least = share * weight.abs().median()
    sparse, rest = torch.zeros_like(weight), weight
    right = torch.randn(1, weight.shape[1], generator=rng, device=rng.device).to(weight)
    for _ in range(rounds):
        sparse = torch.zeros_like(weight)
        for _ in range(sweeps):
            left = torch.linalg.qr((weight - sparse) @ right.mT).Q
            right = left.mT @ (weight - sparse)
            rest = weight - left @ right
            sparse = torch.where(rest.abs() < least, 0.0, rest)
        right = torch.cat((right, torch.linalg.qr(rest - sparse).R[:1]))
    return sparse


def largest(values: Tensor, count: int) -> Int[Tensor, " count"]:
    """Flat places of the entries of largest size; of equal ones the first."""
    return values.abs().flatten().sort(descending=True, stable=True).indices[:count]
