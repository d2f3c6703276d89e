"""Where a stage stands still on its way, counted in rounds or epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from vitruvius.contracts import Stage
from vitruvius.space import hyper


@dataclass(frozen=True, kw_only=True)
class Halting(Stage):
    """A stage that goes a way of equal parts, and may stand still after each of them."""

    until: int | None = hyper(
        None, doc="parts of its way after which it stands still as a rung; None: at its end"
    )

    unkeyed: ClassVar[tuple[str, ...]] = ("until",)
    way: ClassVar[str] = "epochs"
    """The field that counts the parts."""

    def check(self) -> None:
        if self.until is not None and self.until < 1:
            raise ValueError(
                f"{type(self).__name__}.until counts {self.way}, at least 1; got {self.until}. "
                "To go to the end, leave it None."
            )

    def rung(self) -> int | None:
        """The part at which it stands still; None where it goes to its end."""
        whole = getattr(self, self.way)
        return self.until if self.until is not None and self.until < whole else None

    def up_to(self, share: float) -> Self | None:
        """The same up to a share of its way, at least one part; None where that is all of it."""
        until = max(1, round(share * getattr(self, self.way)))
        halted = self.replace(until=until)
        return None if halted.rung() is None else halted
