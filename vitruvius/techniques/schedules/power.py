"""A rate that falls with a power of the tokens seen.

Source: Shen et al. 2024, "Power Scheduler: A Batch Size and Token Number Agnostic Learning Rate
Scheduler", arXiv:2408.13359, section 4.
Differs from the paper: the batch is counted in tokens, so that ``amplitude`` is the paper's a = 4
divided by its 4,096 tokens of a sequence; the rise starts at a hundredth; the decay ends at a
floor above 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vitruvius.space import hyper, log_uniform, uniform
from vitruvius.techniques.schedules.stable import Stable

AMPLITUDE = 4.0 / 4096


@dataclass(frozen=True)
class Power(Stable):
    """min(largest, batch_tokens amplitude tokens^exponent) / largest, a factor of the rate.

    The optimizer's learning rate should be ``largest``: then the rate is the paper's. Its constants
    need no tuning for another batch or length, below the critical batch; they do for other data,
    ``fitted_power`` finds them. Tokens are those seen so far; of items without tokens, the items.
    """

    amplitude: float = hyper(
        AMPLITUDE, log_uniform(AMPLITUDE / 4, AMPLITUDE * 4), "a, rate per token of the batch"
    )
    exponent: float = hyper(-0.51, uniform(-0.7, -0.3), "b, of the tokens seen")
    largest: float = hyper(0.02, log_uniform(5e-3, 5e-2), "cap of the rate")

    def check(self) -> None:
        super().check()
        for name, number in (("amplitude", self.amplitude), ("largest", self.largest)):
            if not number > 0:
                raise ValueError(f"Power.{name} must be above 0; got {number}.")
        if not -2 <= self.exponent <= 0:
            raise ValueError(
                f"Power.exponent must lie between -2 and 0; got {self.exponent}. "
                "For a rate that does not fall, take WSD()."
            )

    def middle(self, tokens: float, batch_tokens: int) -> float:
        return self.rate(tokens, batch_tokens) / self.largest

    def rate(self, tokens: float, batch_tokens: int) -> float:
        """The rate itself, before warmup and decay; the first token stands for none."""
        return min(self.largest, batch_tokens * self.amplitude * max(tokens, 1.0) ** self.exponent)


def fitted_power(best: list[tuple[int, int, float]]) -> tuple[float, float]:
    """(amplitude, exponent) from (tokens of the training, tokens of the batch, best rate).

    Least squares of log(rate / batch) on log(tokens). The rates are those that ended best under
    ``WSD``, for at least two lengths of training.
    """
    x = [math.log(tokens) for tokens, _, _ in best]
    y = [math.log(rate / batch) for _, batch, rate in best]
    if len(set(x)) < 2:
        given = sorted({tokens for tokens, _, _ in best})
        raise ValueError(f"fitted_power needs at least two lengths of training; got {given}.")
    at, level = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - at) * (b - level) for a, b in zip(x, y, strict=True)) / sum(
        (a - at) ** 2 for a in x
    )
    return math.exp(level - slope * at), slope
