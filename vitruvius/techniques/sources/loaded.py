"""Tensors that another run has trained, resized where they are wanted in another size.

Source: Song et al. 2023, "Pre-trained visual parameter-efficient tuning", arXiv:2304.13639, section
3; cutting low-rank pairs by their product: Eckart & Young 1936, "The approximation of one matrix by
another of lower rank", Psychometrika 1.
Differs from the paper: how prompts of another length are had is a choice of four.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitruvius.contracts import Given, Site, Source, Tensors, Wanted, Wants
from vitruvius.space import hyper, one_of
from vitruvius.techniques.sources.free import FreeTensors, start

RULES = ("copy", "tile", "mean", "svd")


@dataclass(frozen=True)
class Loaded(Source):
    """Each tensor is a parameter, and starts as ``given.fitted`` has it: what an adapter saved.

    Taken from the same path and name. Of another size it is resized. "copy": entries beyond those
    that were saved start as they are wanted. "tile": they repeat what was saved. "mean": all rows
    are the mean row. "svd": of [r in] and [out r] their product is kept, as well as the new rank
    can; whatever else the edit multiplies it with (alpha / rank) is not looked at.

    As many numbers as the tensors have. The model is not unchanged at the start: what was learned
    elsewhere acts from the first step on.
    """

    rule: str = hyper("copy", one_of(*RULES), "how a tensor of another size is made")

    needs: ClassVar[tuple[str, ...]] = ("fitted",)
    identity: ClassVar[bool] = False

    def check(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"Loaded.rule is one of {', '.join(RULES)}; got {self.rule!r}.")

    def tensors(
        self, wants: Mapping[str, Wants], sites: Mapping[str, Site], given: Given
    ) -> nn.Module:
        made = FreeTensors(wants, given.rng)
        for path, at in wants.items():
            saved = {name: _saved(given.fitted.tensors, path, name) for name in at}
            resized = transfer(saved, at, self.rule, given.rng)
            with torch.no_grad():
                for name, tensor in resized.items():
                    made.get_parameter(made.names[path][name]).copy_(tensor)
        return made

    def count(self, wants: Mapping[str, Wants], sites: Mapping[str, Site]) -> int:
        return sum(wanted.size.numel() for at in wants.values() for wanted in at.values())


def transfer(saved: Tensors, wants: Wants, rule: str, rng: torch.Generator) -> dict[str, Tensor]:
    """The tensors of one site in the sizes that are wanted, by one of ``RULES``."""
    found: dict[str, Tensor] = {}
    if rule == "svd":
        for down, up in _pairs(saved, wants):
            rank = wants[down].size[0]
            found[up], found[down] = cut(saved[up], saved[down], rank)
    for name, wanted in wants.items():
        if name not in found:
            found[name] = _resized(saved[name], wanted, rule, rng, name)
    return found


def cut(
    up: Float[Tensor, "out r"], down: Float[Tensor, "r in"], rank: int
) -> tuple[Float[Tensor, "out s"], Float[Tensor, "s in"]]:
    """Two matrices of another rank, s, whose product is the nearest to up down; equal for s >= r.

    Both have the same singular values. Beyond r they are zero.
    """
    left, values, right = torch.linalg.svd(up.double() @ down.double(), full_matrices=False)
    kept = min(rank, len(down), len(values))
    root = values[:kept].sqrt()
    new_up = up.new_zeros(len(up), rank)
    new_down = down.new_zeros(rank, down.shape[1])
    new_up[:, :kept] = (left[:, :kept] * root).to(up.dtype)
    new_down[:kept] = (root[:, None] * right[:kept]).to(down.dtype)
    return new_up, new_down


def _pairs(saved: Tensors, wants: Wants) -> list[tuple[str, str]]:
    """Names of [r in] and [out r] that differ from what is wanted in r alone."""
    found = []
    for down, first in wants.items():
        for up, second in wants.items():
            sizes = (first.size, second.size, saved[down].shape, saved[up].shape)
            if down == up or any(len(size) != 2 for size in sizes):
                continue
            (r, into), (out, r_too), (s, into_too), (out_too, s_too) = sizes
            if (r, into, out, s) == (r_too, into_too, out_too, s_too) and r != s:
                found.append((down, up))
    return found


def _resized(saved: Tensor, wanted: Wanted, rule: str, rng: torch.Generator, name: str) -> Tensor:
    if saved.ndim != len(wanted.size):
        raise ValueError(
            f"Loaded resizes along axes; {name} was saved with {saved.ndim} and is wanted with "
            f"{len(wanted.size)}. Take the edit that it was trained for."
        )
    if rule == "mean" and saved.ndim > 1:
        saved = saved.mean(0, keepdim=True).expand(wanted.size[0], *saved.shape[1:])
    if saved.shape == wanted.size:
        return saved
    if rule in ("tile", "mean"):
        for axis, length in enumerate(wanted.size):
            saved = saved.index_select(axis, torch.arange(length) % saved.shape[axis])
        return saved
    made = start(wanted, rng).to(saved)
    both = tuple(slice(min(a, b)) for a, b in zip(saved.shape, wanted.size, strict=True))
    made[both] = saved[both]
    return made


def _saved(tensors: Tensors, path: str, name: str) -> Tensor:
    """What was saved of a path and name, under whatever number of a part."""
    own = f"{path}/{name}".replace(".", "/")
    found = [key for key in tensors if key.rpartition(".")[2] == own]
    if len(found) != 1:
        there = ", ".join(sorted(tensors)[:3]) or "nothing"
        raise ValueError(
            f"Loaded needs one tensor {own} in what was saved; there are {len(found)} (there is "
            f"{there}). Adapt the sites that were adapted then, or take Free."
        )
    return tensors[found[0]].detach()
