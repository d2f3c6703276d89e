"""The first stage of a study, of whatever medium: data, split, with the test part sealed."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vitruvius.contracts import Lab, Measurement, Stage, State
from vitruvius.pipeline.keys import content_digest

INPUTS = "inputs"  # what new data must look like, among what a state has fitted


@dataclass(frozen=True, eq=False)
class Opened:
    """Data that were read, with what a person should know of them."""

    state: State
    source: str
    target: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loader(Stage):
    """Reads data. It depends on no seed but its own, and gives the same whenever it runs."""

    sourced: ClassVar[bool] = True

    @abstractmethod
    def read(self) -> Opened:
        """The data, read anew. Raises DataError with what is wrong and how to mend it."""

    def look(self) -> Opened:
        """The data. A process reads what has not changed once: study and trials read the same."""
        given = (getattr(self, name) for name in self.opens)
        return _remembered(self, tuple(content_digest(s) for s in given if isinstance(s, str)))

    def floors(self, state: State) -> tuple[Measurement, ...]:
        """What any model must beat on the validation part; the study asks for them once."""
        return () if state.task is None else state.task.floors

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        """Data, task and splits."""
        return self.look().state


@functools.lru_cache(maxsize=2)
def _remembered(stage: Loader, content: tuple[str, ...]) -> Opened:
    """``content`` is the digest of what the sources hold, so that an edited file is read again."""
    return stage.read()
