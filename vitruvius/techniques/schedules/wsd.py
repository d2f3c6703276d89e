"""Warmup, a stable rate, decay.

Source: Hu et al. 2024, "MiniCPM: Unveiling the Potential of Small Language Models with Scalable
Training Strategies", arXiv:2404.06395, section 4.
Differs from the paper: the rise starts at a hundredth; the decay ends at a floor above 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvius.techniques.schedules.stable import Stable


@dataclass(frozen=True)
class WSD(Stable):
    """The whole rate from the end of the warmup to the begin of the decay.

    A training can be continued from any step before the decay, towards any horizon.
    """

    def middle(self, tokens: float, batch_tokens: int) -> float:
        return 1.0
