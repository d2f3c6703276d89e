"""Stages, what surrounds a running stage, and protocols that run many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch

from vitruvius.contracts.batches import Tensors
from vitruvius.contracts.documents import Array, Split
from vitruvius.contracts.models import Metric, Probe
from vitruvius.contracts.records import Better, Cost, Json, Measurement, Meter, Progress, State
from vitruvius.contracts.roles import Technique
from vitruvius.space.node import Node


class Stopped(Exception):
    """The budget has ended, or the searcher wants no more: keep the checkpoint at hand and end."""


@dataclass(frozen=True)
class Limits:
    """What a design may not exceed; None: no limit. Checked on meta, before it is built."""

    max_parameters: int | None = None
    max_flops: float | None = None
    """Of the whole training."""


@dataclass(frozen=True)
class Tried:
    """A design that a study inside a stage ran."""

    point: Mapping[str, Any]
    scores: tuple[float, ...]
    """Of each input; empty where it failed."""
    cost: Cost = field(default_factory=Cost)
    """Over all inputs; parameters are those of the largest."""
    cause: str = ""
    """Why it failed."""

    @property
    def score(self) -> float:
        """The mean over the inputs; nan where it failed."""
        return sum(self.scores) / len(self.scores) if self.scores else float("nan")


@dataclass(frozen=True)
class Found:
    """The best that a study inside a stage found."""

    design: Node
    point: Mapping[str, Any]
    states: tuple[State, ...]
    """What it made of each input."""
    better: Better
    tried: tuple[Tried, ...]
    """All designs in the order in which they were asked, this one among them."""


@runtime_checkable
class Lab(Protocol):
    """What surrounds a running stage. All that it runs is keyed, stored, metered and budgeted."""

    @property
    def seed(self) -> int:
        """From the stage's key."""
        ...

    @property
    def first_seed(self) -> int:
        """From what comes into the stage and the study's seed alone: the same for all stages of a
        kind that begin with the same states, however they go on. For weights that several trainings
        begin with."""
        ...

    @property
    def device(self) -> torch.device: ...
    @property
    def precision(self) -> torch.dtype:
        """Of the forward pass; weights stay float32."""
        ...

    @property
    def folder(self) -> Path | None:
        """For checkpoints; None where nothing is to be kept."""
        ...

    @property
    def limits(self) -> Limits: ...
    @property
    def meter(self) -> Meter: ...
    def generator(self, name: str) -> torch.Generator:
        """Seeded by the stage's key and this name alone, so that the order of use is free."""
        ...

    def report(self, now: Progress, measured: Sequence[Measurement] = ()) -> None:
        """A point of the learning curve, perhaps a rung. Raises Stopped when the end has come."""
        ...

    def keep(self, step: int, tensors: Tensors, values: Json) -> None:
        """Store all that the stage needs to go on from a rung; nothing where there is no store."""
        ...

    def recall(self, most: int) -> tuple[int, Tensors, Json] | None:
        """The last rung of this stage that was kept, at a step of at most this; None: none."""
        ...

    def run(self, pipeline: Node, inputs: Mapping[str, State]) -> State:
        """What the pipeline (or one stage) makes of these, computed now or loaded."""
        ...

    def evaluate(
        self, state: State, metric: Metric | Probe, split: str | None = None
    ) -> Measurement:
        """On a split; None: on validation, of a probe on the part that it looks at."""
        ...

    def study(
        self,
        space: Node,
        inputs: Sequence[Mapping[str, State]],
        searcher: Node | None,
        trials: int,
    ) -> Found:
        """The best of so many designs of the space. A design is run on each of the inputs, and its
        score is the mean over them; None draws designs at random."""
        ...


@dataclass(frozen=True)
class Stage(Node, ABC):
    """A step of a pipeline: states in, one state out, under the key of everything that made it."""

    seed: int | None = field(default=None, kw_only=True)
    """None: the study's. Given where seeds are what is varied."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions belong to the key."""
    unkeyed: ClassVar[tuple[str, ...]] = ()
    """Fields that do not change the result: worker counts, ``until``."""
    later: ClassVar[tuple[str, ...]] = ()
    """Fields that are not in the key where they are None: they came to the stage when results of it
    were stored already, and change none of these."""
    opens: ClassVar[tuple[str, ...]] = ()
    """Fields that may name files or folders: the key holds the digest of their content instead."""
    sourced: ClassVar[bool] = False
    """Gives its data again whenever it runs, cheaply: a store refers to them and copies nothing."""

    def stands_on(self) -> tuple[str, ...]:
        """Names of modules that it imports by name, only where it needs them: their code is in the
        key then, and in no other."""
        return ()

    @abstractmethod
    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        """The state before is ``inputs["before"]``, absent for the first stage.

        A field that holds a pipeline comes in under the field's name, those of a tuple of
        pipelines under "name.0", "name.1", ...
        """

    def rung(self) -> int | None:
        """The step at which it ends short of its horizon; None where it goes to its end.

        Its key is that of the whole way; what it leaves there has a key of its own.
        """
        return None

    def up_to(self, share: float) -> Stage | None:
        """The same stage, standing still at a share of its horizon, above 0 and below 1.

        Its key stays, so that a larger share goes on from there. None where it has no rung short of
        its end.
        """
        return None

    def foresee(self, inputs: Mapping[str, State], lab: Lab) -> Cost | None:
        """What it would take, from the meter and before it runs; None where it cannot tell.

        A state that is not at hand before it has been made is absent from ``inputs``.
        """
        return None


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds, and the numbers that decide it; None: they do not. No is an answer."""

    claim: str
    holds: bool | None
    evidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Report:
    """What a protocol found."""

    table: Mapping[str, Array]
    """Columns of equal length, one row per run."""
    verdict: Verdict
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class Evaluator(Technique):
    """A protocol: compares designs by running them through the lab, under its own rules."""

    @abstractmethod
    def evaluate(self, subject: Node, data: Mapping[str, Split], lab: Lab) -> Report:
        """A subject with a domain is searched (``lab.study``), a decided one is run."""

    @abstractmethod
    def verdict(self, table: Mapping[str, Array]) -> Verdict:
        """Pure: curves, intervals, crossings of the runs."""
