"""What adapters have in common whose bottlenecks a network writes for each task.

Source: Liu et al. 2022, "Polyhistor: parameter-efficient multi-task adaptation for dense vision
tasks", arXiv:2210.03265, section 4.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vitruvius.contracts import Branch, Layout, Part, Site, Sites, Source, Tensors, Wants
from vitruvius.space import hyper, integers, one_of
from vitruvius.techniques.adapters.bottleneck import ATTENTIONS, BOTH, FEED_FORWARDS, Bottleneck


@dataclass(frozen=True)
class Written(Branch):
    """A serial bottleneck whose width is a share of the site's, its tensors from a hypernetwork."""

    tasks: int = hyper(1, doc="tasks: the routes 0 to tasks - 1 of a batch's rows")
    ratio: int = hyper(8, one_of(2, 4, 8, 16, 32), "width of a site over that of its bottleneck")
    embedding: int = hyper(16, integers(4, 128, log=True), "numbers of a task's embedding")
    activation: str = hyper("relu", one_of("relu", "gelu"), "function f of the bottleneck")
    sites: Sites = hyper(BOTH, one_of(FEED_FORWARDS, ATTENTIONS, BOTH), "after what")

    @abstractmethod
    def source(self) -> Source:
        """What writes the tensors of all bottlenecks."""

    def check(self) -> None:
        if self.ratio < 1:
            raise ValueError(f"{type(self).__name__}.ratio must be at least 1; got {self.ratio}.")
        self.source()
        self._bottleneck(1)

    def parts(self) -> tuple[Part, ...]:
        return (Part(self.sites, self, self.source()),)

    def wants(self, site: Site) -> Wants:
        (width,) = site.sizes["output"]
        if width < self.ratio:
            raise ValueError(
                f"{type(self).__name__}.ratio must be at most the width of each site; "
                f"got {self.ratio} for {site.path} of {width}."
            )
        return self._bottleneck(width // self.ratio).wants(site)

    def forward(
        self,
        t: Tensors,
        x: Float[Tensor, "B T d"],
        y: Float[Tensor, "B T d"],
        layout: Layout,
        carried: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        return self._bottleneck(t["down"].shape[-2]).forward(t, x, y, layout, carried)

    def _bottleneck(self, width: int) -> Bottleneck:
        return Bottleneck(width, "serial", "add", activation=self.activation)
