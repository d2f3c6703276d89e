"""What a study is asked to do, and what can be wrong with that."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitruvius.search import Chebyshev, Searcher, Transfer
from vitruvius.search.random_search import RandomSearch
from vitruvius.space import from_json, to_json
from vitruvius.study.budget import Budget
from vitruvius.study.executor import Executor, Inline, Processes
from vitruvius.study.front import checked_costs
from vitruvius.study.probing import Probe
from vitruvius.study.trials import Summary
from vitruvius.study.worker import USER_MODULE

if TYPE_CHECKING:
    from vitruvius.contracts import Merger

JOURNAL = "journal.sqlite"
STORE = "store"  # the folder of states that the designs of a study share
STORE_BYTES = 4 * 2**30
SPACE_FILE = "space.py"  # the copy of a user's space file

View = Callable[[Summary, float], None]
Finish = Callable[[Path, Summary], Mapping[str, Any]]


class StudyError(Exception):
    """A study that cannot begin or go on. One line: what, where, how to mend."""


class AllFailed(StudyError):
    """A study of which every trial failed."""


class Interrupted(KeyboardInterrupt):
    """A study that was interrupted, and can go on. One line that says how."""


@dataclass(frozen=True)
class Final:
    """The evidence at the end: the best ``top`` designs are trained anew with ``seeds`` fresh seeds
    each, the best of them on the mean is tested, once.

    With ``refit``, the design that was chosen is trained once more, on the training and the
    validation part together, and that model is tested. It is left out where no time is left for it.

    With a ``merger`` it is tried whether the weights of trainings that began alike make a better
    model together (a soup). It takes the place of the chosen one where its validation score is
    higher than that of every single training; what is told of that score is that it was chosen on
    it. Then nothing is trained once more.

    ``at_most`` limits the choice: of the designs that cost no more (``{"parameters": 1e6}``) the
    best score counts. Where none does, the nearest is chosen, and that is told.
    """

    top: int = 3
    seeds: int = 2
    refit: bool = False
    merger: Merger | None = None
    at_most: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked_costs(tuple(self.at_most), "Final.at_most")
        for name, limit in self.at_most.items():
            if not limit > 0:
                raise ValueError(f"Final.at_most: {name} must have a limit above 0; got {limit}.")
        if self.merger is not None and self.merger.start:
            raise ValueError(
                f"{type(self.merger).__name__} needs the weights that trainings began with, which "
                "a study does not keep. Take GreedySoup, UniformSoup or LearnedSoup."
            )

    def to_json(self) -> dict[str, Any]:
        """As the journal holds it."""
        written: dict[str, Any] = {"top": self.top, "seeds": self.seeds, "refit": self.refit}
        if self.at_most:
            written["at_most"] = dict(self.at_most)
        return written if self.merger is None else {**written, "merger": to_json(self.merger)}

    @classmethod
    def from_json(cls, written: Mapping[str, Any], allow: tuple[str, ...]) -> Final:
        """What ``to_json`` wrote; classes come from the packages in ``allow``."""
        merger = written.get("merger")
        return cls(**{**written, "merger": None if merger is None else from_json(merger, allow)})


@dataclass(frozen=True)
class Limits:
    """What no design may exceed; None: no limit."""

    max_parameters: int | None = None
    max_flops: float | None = None


@dataclass(frozen=True)
class Surroundings:
    """Where trials run. Device, threads and precision are part of what makes a result."""

    workers: int = 0
    """Processes beside this one; 0: in this one."""
    device: str = "cpu"
    threads: int = 1
    precision: str | None = None
    """Of the forward pass, "float32" or "bfloat16"; None: bfloat16 on CUDA, else float32."""

    def executor(self) -> Executor:
        return Processes(self.workers) if self.workers else Inline()


@dataclass
class Settings:
    """A search over a pipeline's space, in a folder. ``seed`` is that of the trainings; the
    searcher has its own."""

    space: Any
    searcher: Searcher = field(default_factory=RandomSearch)
    budget: Budget = field(default_factory=lambda: Budget(trials=20))
    folder: str | os.PathLike[str] = "runs/study"
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    final: Final = field(default_factory=Final)
    around: Surroundings = field(default_factory=Surroundings)
    views: Sequence[View] = ()
    finish: Sequence[Finish] = ()
    store: str | os.PathLike[str] | None = None
    """Of states that designs share, and studies if it is given; None: in the study's own folder."""
    store_bytes: int | None = STORE_BYTES
    """How large the tensors in the store may become; None: no limit."""
    probe: Probe | None = None
    """The speed of this machine, where it was measured before the study."""
    also: tuple[str, ...] = ()
    """Costs that are objectives beside the score: parameters, flops, seconds, latency."""
    earlier: tuple[str | os.PathLike[str], ...] = ()
    """Folders of earlier studies to begin with; read once, when the study begins."""
    user_file: str | None = None
    modules: tuple[str, ...] = ()
    clock: Callable[[], float] = time.time


def asking(settings: Settings) -> Searcher:
    """The searcher of a study: around the one that was given what its objectives and the earlier
    studies need."""
    searcher: Any = settings.searcher
    checked_costs(settings.also, "Study.also")
    around: set[type] = set()
    inside = searcher
    while inside is not None:
        around.add(type(inside))
        inside = getattr(inside, "searcher", None)
    if settings.earlier and Transfer not in around:
        searcher = Transfer(searcher)
    if settings.also and Chebyshev not in around:
        searcher = Chebyshev(searcher, settings.also)
    return searcher


def store_of(settings: Settings) -> Path:
    """The folder of the store that a study uses."""
    return Path(settings.store if settings.store is not None else Path(settings.folder) / STORE)


def allowed(modules: Sequence[str]) -> tuple[str, ...]:
    """Packages that a design's classes may come from."""
    return ("vitruvius", USER_MODULE, *modules)


def written_budget(budget: Budget) -> dict[str, Any]:
    """A budget as the journal holds it."""
    return {"seconds": budget.seconds, "trials": budget.trials, "flops": budget.flops}
