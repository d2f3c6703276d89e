"""Bottlenecks of all layers and tasks from one template of each task, scaled for each layer.

Source: Liu et al. 2022, "Polyhistor: parameter-efficient multi-task adaptation for dense vision
tasks", arXiv:2210.03265, sections 4.2 and 4.3 (layer-wise scaling kernels).
Differs from the paper: generators are linear; which layers share a template is a choice.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Source
from vitruvius.space import hyper, integers, one_of
from vitruvius.techniques.adapters.written import Written
from vitruvius.techniques.sources import Generated


@dataclass(frozen=True)
class PolyhistorLite(Written):
    """y + up f(down y + b) + c after parts of each layer, with down = K (x) (P v)(Q v) of a task v.

    The template is written for the smallest width; a layer that is c times as wide has kernels K of
    c x c for down and for up, and all tasks share them. So a layer more costs 2 c^2 + 2 c numbers.
    up = 0 at the start. Widths must be multiples of the smallest.
    """

    rank: int = hyper(4, integers(1, 32, log=True), "of what is written for down and for up")
    share: str = hyper(
        "all", one_of("all", "place"), "one template for attention and feed-forward, or one each"
    )

    def source(self) -> Source:
        return Generated(
            self.tasks, self.embedding, "output", self.rank, layers="kernels", share=self.share
        )
