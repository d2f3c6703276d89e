"""An adapter as large as a budget of numbers allows.

Source: the question is that of Su et al. 2023, "Exploring the impact of model scaling on
parameter-efficient tuning", arXiv:2306.02320, section 3: methods are compared at equal numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vitruvius.contracts import Adapter, Part
from vitruvius.space import hyper, log_uniform
from vitruvius.techniques.adapters.low_rank import LowRank

MOST = 2**24  # of a knob


@dataclass(frozen=True)
class Within(Adapter):
    """The adapter with its knob (rank, width, length) turned as far as the budget allows.

    Trains at most ``budget`` numbers in the bodies: the largest value of the knob whose count is
    not above it, found by bisection over exact counts; what the adapter itself says of its knob is
    not read. Where the smallest is above it, other sizes of the adapter are halved. So every
    point of a space over methods is of one size, and none is refused for it.
    """

    adapter: Adapter = hyper(LowRank(), None, "whose knob is turned")
    budget: float = hyper(
        0.005, log_uniform(1e-3, 3e-2), "numbers that train; below 1: their share of the base's"
    )

    @classmethod
    def example(cls) -> Within:
        """One that any base has room for."""
        return cls(LowRank(), 0.03)

    @property
    def identity(self) -> bool:
        return self.adapter.identity

    def check(self) -> None:
        if self.budget <= 0:
            raise ValueError(
                f"Within.budget must be above 0; got {self.budget}. "
                "For nothing to train, take LinearProbe."
            )
        if not self.adapter.knob:
            raise ValueError(
                f"Within.adapter must have a size to set; {type(self.adapter).__name__} has none. "
                "Take one with a rank, a width or a length."
            )

    def parts(self) -> tuple[Part, ...]:
        return self.adapter.parts()

    def settled(self, numbers: int, count: Callable[[Adapter], int]) -> Adapter:
        """The adapter in its size. Raises ValueError where its smallest is above the budget."""
        most = int(self.budget * numbers) if self.budget < 1 else int(self.budget)
        if self._fits(most, most, count):  # a knob that is a number of numbers
            return self._turned(most)
        doubled = [2**k for k in range(MOST.bit_length()) if self._fits(2**k, most, count)]
        if not doubled:
            return self._smaller(most, count).settled(numbers, count)
        low, high = doubled[-1], 2 * doubled[-1]
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(middle, most, count) else (low, middle)
        return self._turned(low)

    def _smaller(self, most: int, count: Callable[[Adapter], int]) -> Within:
        """With its other sizes halved. Raises ValueError where they are as small as can be."""
        inner = self.adapter
        sizes = {name: getattr(inner, name) for name in inner.further}
        if all(size <= 1 for size in sizes.values()):
            smallest = self._counted(1, count)
            told = "does not fit this base" if smallest is None else f"trains {smallest:,}"
            raise ValueError(
                f"Within.budget must allow the smallest {type(inner).__name__}; got {most:,} "
                f"numbers, and with {inner.knob} 1 it {told}. Give a larger budget, or fewer sites."
            )
        halved = {name: max(1, size // 2) for name, size in sizes.items()}
        return self.replace(adapter=inner.replace(**halved))

    def _fits(self, value: int, most: int, count: Callable[[Adapter], int]) -> bool:
        counted = self._counted(value, count)
        return counted is not None and counted <= most

    def _counted(self, value: int, count: Callable[[Adapter], int]) -> int | None:
        try:
            return count(self._turned(value))
        except ValueError:  # larger than a matrix, wider than a layer
            return None

    def _turned(self, value: int) -> Adapter:
        return self.adapter.replace(**{self.adapter.knob: value})
