"""A rise counted in steps, a middle that knows no end, and a decay at the end.

Source: Hu et al. 2024, "MiniCPM", arXiv:2404.06395, section 4; the exponential shape as in
Shen et al. 2024, "Power Scheduler", arXiv:2408.13359 (code: IBM/dolomite-engine).
Differs from the papers: the rise starts at a hundredth and the decay ends at a floor above 0, so
that every step trains.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

from vitruvius.contracts import Progress, Schedule
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.schedules.warmed import START

SHAPES = ("linear", "exponential", "root")


@dataclass(frozen=True)
class Stable(Schedule[float]):
    """A factor in (0, 1]: rises to ``middle``, follows it, and decays from where it then is.

    The rise is counted in steps and not as a share of the training, so that nothing before the
    decay depends on when training ends: such rungs are shared by all horizons. With an open end
    there is no decay.
    """

    warmup_steps: int = hyper(0, one_of(0, 10, 30, 100, 300), "steps in which the rate rises")
    decay: float = hyper(0.2, one_of(0.0, 0.1, 0.2), "share of the horizon at its end that decays")
    shape: str = hyper("linear", one_of(*SHAPES), "of the decay; root: 1 - sqrt")
    floor: float = hyper(0.01, log_uniform(0.001, 0.3), "share of the rate where the decay ends")

    def check(self) -> None:
        who = type(self).__name__
        if self.warmup_steps < 0:
            raise ValueError(
                f"{who}.warmup_steps must not be negative; got {self.warmup_steps}. "
                "For no warmup, take 0."
            )
        if not 0 <= self.decay <= 1:
            raise ValueError(
                f"{who}.decay is a share of the training, from 0 to 1; got {self.decay}."
            )
        if self.shape not in SHAPES:
            raise ValueError(f"{who}.shape is one of {', '.join(SHAPES)}; got {self.shape!r}.")
        if not 0 < self.floor <= 1:
            raise ValueError(f"{who}.floor must be above 0 and at most 1; got {self.floor}.")

    def value(self, now: Progress) -> float:
        if self.horizon_free(now) or now.fraction is None:
            return self.risen(now, float(now.tokens))
        begin = 1 - self.decay
        done = min((now.fraction - begin) / self.decay, 1.0)
        return self.risen(now, now.tokens * begin / now.fraction) * decayed(
            done, self.shape, self.floor
        )

    def risen(self, now: Progress, tokens: float) -> float:
        """The factor after so many tokens, before any decay."""
        if now.step >= self.warmup_steps:
            return self.middle(tokens, now.batch_tokens)
        top = self.middle(float(self.warmup_steps * now.batch_tokens), now.batch_tokens)
        return top * (START + (1 - START) * now.step / self.warmup_steps)

    def horizon_free(self, now: Progress) -> bool:
        return now.fraction is None or not self.decay or now.fraction <= 1 - self.decay

    @abstractmethod
    def middle(self, tokens: float, batch_tokens: int) -> float:
        """The factor between rise and decay, after so many tokens."""


def decayed(done: float, shape: str, floor: float) -> float:
    """From 1 at done = 0 to the floor at done = 1.

    linear: 1 - done; root: 1 - sqrt(done); exponential: (e^-done - 1/e) / (1 - 1/e), each
    stretched to the floor.
    """
    if shape == "linear":
        left = 1 - done
    elif shape == "root":
        left = 1 - math.sqrt(done)
    else:
        left = (math.exp(-done) - math.exp(-1)) / (1 - math.exp(-1))
    return floor + (1 - floor) * left
