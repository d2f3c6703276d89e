"""Train the head alone, on the hidden states of the model as it is.

Source: Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes",
arXiv:1610.01644, section 3; for texts Peters, Ruder & Smith 2019, "To tune or not to tune?",
arXiv:1903.05987 ("feature extraction").
Differs from the papers: how linear it is, the head says.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.contracts import Choose, Given, Model, Tensors


@dataclass(frozen=True)
class LinearProbe(Choose):
    """No number of the bodies trains, and no dropout acts in them.

    So the hidden states of a text are always the same: they may be computed once.
    """

    @property
    def frozen(self) -> bool:
        return True

    def choose(self, model: Model, given: Given) -> Tensors:
        return {}
