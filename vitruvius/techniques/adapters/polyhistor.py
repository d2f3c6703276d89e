"""Bottlenecks of all layers and tasks that one small network writes.

Source: Liu et al. 2022, "Polyhistor: parameter-efficient multi-task adaptation for dense vision
tasks", arXiv:2210.03265, section 4.1 (decomposed hypernetworks).
Differs from the paper: layers are told apart by an embedding each, added to that of the task, as in
Karimi Mahabadi et al. 2021, arXiv:2106.04489, section 2.3; generators are linear.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Source
from vitruvius.space import hyper, integers
from vitruvius.techniques.adapters.written import Written
from vitruvius.techniques.sources import Generated


@dataclass(frozen=True)
class Polyhistor(Written):
    """y + up f(down y + b) + c after parts of each layer, written for each task and layer.

    For width d, a bottleneck of n = d / ratio, and embeddings of k: k r (n + d) numbers for each of
    down and up and each width, k for each task and each layer. up = 0 at the start.
    """

    rank: int = hyper(4, integers(1, 32, log=True), "of what is written for down and for up")

    def source(self) -> Source:
        return Generated(
            self.tasks, self.embedding, "output", self.rank, layers="embeddings", share="place"
        )
