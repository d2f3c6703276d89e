"""Tensors that one small network writes for all sites and tasks.

Source: Liu et al. 2022, "Polyhistor: parameter-efficient multi-task adaptation for dense vision
tasks", arXiv:2210.03265, section 4; Karimi Mahabadi et al. 2021, "Parameter-efficient multi-task
fine-tuning for transformers via shared hypernetworks", arXiv:2106.04489, section 2.3 (HyperFormer).
Differs from the papers: generators are linear in the code, and a site's embedding is added to the
task's; both factorings of a generator are offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from vitruvius.contracts import Given, Site, Source, Wanted, Wants
from vitruvius.space import hyper, integers, one_of
from vitruvius.techniques.sources.generators import Family, Generators

OPTIONS = {
    "decompose": ("output", "generator", "none"),
    "layers": ("kernels", "embeddings"),
    "kernels": ("site", "size"),
    "share": ("place", "all"),
}


@dataclass(frozen=True)
class Generated(Source):
    """W = K (x) (H v_t): a template from the embedding of a task, scaled by a kernel of the site.

    Trains tasks * embedding numbers, the generators, and in each kernel (width of the site over the
    smallest width) squared. More layers cost only their kernels. What starts at zero does so
    because the last factor of its generator is zero; no other is. With more than one task each row
    of a batch says its task in ``Layout.route``.
    """

    tasks: int = hyper(1, doc="tasks that have an embedding: routes 0 to tasks - 1")
    embedding: int = hyper(16, integers(4, 128, log=True), "numbers of an embedding")
    decompose: str = hyper(
        "output",
        one_of(*OPTIONS["decompose"]),
        "factors of W are generated, or the generator has factors, or neither",
    )
    rank: int = hyper(4, integers(1, 32, log=True), "rank of these factors, where there are any")
    layers: str = hyper(
        "kernels",
        one_of(*OPTIONS["layers"]),
        "what tells sites apart: a kernel each, or an embedding each and a generator for each size",
    )
    kernels: str = hyper(
        "site", one_of(*OPTIONS["kernels"]), "whether sites of one size have kernels of their own"
    )
    share: str = hyper(
        "place", one_of(*OPTIONS["share"]), "which sites have one generator: of a place, or all"
    )

    def check(self) -> None:
        for name in ("tasks", "embedding", "rank"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Generated.{name} must be at least 1; got {getattr(self, name)}. "
                    "For tensors of their own at each site, take Free."
                )
        for name, options in OPTIONS.items():
            if getattr(self, name) not in options:
                raise ValueError(
                    f"Generated.{name} is one of {', '.join(options)}; got {getattr(self, name)!r}."
                )

    def tensors(
        self, wants: Mapping[str, Wants], sites: Mapping[str, Site], given: Given
    ) -> nn.Module:
        made = self._generators(wants, sites)
        made.reset(given.rng)
        return made

    def count(self, wants: Mapping[str, Wants], sites: Mapping[str, Site]) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in self._generators(wants, sites).parameters())

    def _generators(self, wants: Mapping[str, Wants], sites: Mapping[str, Site]) -> Generators:
        families = self._families(wants, sites)
        return Generators(families, self.tasks, self.embedding, self.decompose, self.rank)

    def _families(self, wants: Mapping[str, Wants], sites: Mapping[str, Site]) -> list[Family]:
        found: dict[tuple[object, ...], list[tuple[str, str, Wanted]]] = {}
        for path, at in wants.items():
            for name, wanted in at.items():
                place = sites[path].place if self.share == "place" else ""
                size = tuple(wanted.size) if self.layers == "embeddings" else len(wanted.size)
                key = (place, name, wanted.start, wanted.scale, size)
                found.setdefault(key, []).append((path, name, wanted))
        return [self._family(members) for members in found.values()]

    def _family(self, members: list[tuple[str, str, Wanted]]) -> Family:
        sizes = [tuple(wanted.size) for _, _, wanted in members]
        if self.layers == "embeddings":
            return Family(sizes[0], tuple(members), None)
        smallest = tuple(map(min, zip(*sizes, strict=True)))
        for (path, name, _), size in zip(members, sizes, strict=True):
            if any(a % b for a, b in zip(size, smallest, strict=True)):
                raise ValueError(
                    f"Generated with kernels needs sizes that are multiples of the smallest, "
                    f"{smallest}; {name} of {path} is {size}. "
                    'Take other sites, or layers="embeddings".'
                )
        first = {size: number for number, size in enumerate(dict.fromkeys(sizes))}
        owners = [first[s] for s in sizes] if self.kernels == "size" else range(len(sizes))
        return Family(smallest, tuple(members), tuple(owners))
