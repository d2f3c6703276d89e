"""A weighted mean of what the layers of a frozen network give.

Source: Peters et al. 2018, "Deep contextualized word representations", arXiv:1802.05365, section
3.2 (equation 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitruvius.contracts import Layout, Part, Reader, Site, Sites, Source, Tensors, Wanted, Wants
from vitruvius.space import hyper
from vitruvius.techniques.sources import Free

LAYERS = Sites(kinds=("layer",))


@dataclass(frozen=True)
class LayerMix(Reader):
    """s sum b_i h_i over the layers, with b = softmax(w): the baseline of all that read layers.

    L + 1 numbers for L layers. The model is not unchanged at the start: that is the mean.
    """

    sites: Sites = hyper(LAYERS, None, "which layers it reads")
    source: Source = hyper(Free(), None, "who makes w and s")

    @property
    def identity(self) -> bool:
        return False

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source),)

    def wants(self, site: Site) -> Wants:
        if site.kind != "layer":
            return {}
        one = {"weight": Wanted(torch.Size((1,)))}
        return one | {"scale": Wanted(torch.Size((1,)), "one")} if site.depth == 0 else one

    def read(
        self, t: Mapping[str, Tensors], taps: Tensors, layout: Layout
    ) -> Float[Tensor, "B T d"]:
        weights = torch.cat([t[name]["weight"] for name in t]).softmax(0)
        mixed = sum(w * taps[name] for w, name in zip(weights, t, strict=True))
        scale = next((own["scale"] for own in t.values() if "scale" in own), None)
        assert isinstance(mixed, Tensor)
        return mixed if scale is None else scale * mixed
