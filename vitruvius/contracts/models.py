"""The roles of what is done with trained models: compress, merge, search, judge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from vitruvius.contracts.batches import Tensors
from vitruvius.contracts.documents import Documents
from vitruvius.contracts.given import Given
from vitruvius.contracts.records import (
    Better,
    Hits,
    Index,
    Lineage,
    Measurement,
    Model,
    Predictions,
)
from vitruvius.contracts.roles import Technique
from vitruvius.contracts.training import Objective
from vitruvius.space.node import Node


@dataclass(frozen=True, eq=False)
class Structure:
    """What is left of a model's tensors, by parameter name."""

    masks: Tensors = field(default_factory=dict)
    """True where an entry stays; held under any optimizer."""
    kept: Tensors = field(default_factory=dict)
    """Of tensors that became smaller: what stays along an axis, as positions of the old."""
    axes: Mapping[str, int] = field(default_factory=dict)
    """Along which axis a tensor of ``kept`` became smaller; the first where it is missing."""


@dataclass(frozen=True, eq=False)
class Compressed:
    """A smaller model, and what it needs to recover."""

    model: Model
    structure: Structure
    origin: Mapping[str, str] = field(default_factory=dict)
    """New module to old one."""
    heal: Objective | None = None
    """What to train next, with ``given.models["teacher"]``."""


@dataclass(frozen=True)
class Compressor(Technique):
    """Makes a model smaller. Importance may be the task's own change of the weights."""

    @abstractmethod
    def compress(self, model: Model, given: Given) -> Compressed:
        """A new model; the one given stays as it is."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model to be merged: its tensors are read only when wanted."""

    tensors: Callable[[], Tensors]
    """By one scheme of names for all candidates: of whole models (``train.candidates``), or deltas
    by name of the base's parameter. A merger changes none in place."""
    score: Measurement
    lineage: Lineage
    trained: bool = True
    """False: the weights that the trainings of the others began with."""


@dataclass(frozen=True, eq=False)
class Merged:
    """Tensors of one model out of many."""

    tensors: Tensors
    shares: tuple[float, ...]
    """Of the candidates, in their order, summing to 1; 0 where one was left out."""


@dataclass(frozen=True)
class Merger(Technique):
    """One model out of several with equal tensor names and shapes. Of one alone: that one.

    Of adapters the deltas are merged (B A, not B and A): the mean of products is no product of
    means.
    """

    start: ClassVar[bool] = False
    """Whether the weights that the trainings began with must be among the candidates."""

    @abstractmethod
    def merge(self, candidates: Sequence[Candidate], given: Given) -> Merged:
        """Refuses candidates of another lineage than the first (``Lineage.family``), and tensors
        that differ in names, shapes or types."""


@dataclass(frozen=True)
class Retriever(Technique):
    """Builds an index. Those that fuse, rerank or filter wrap others, with the same verb."""

    @property
    def reads(self) -> frozenset[str]:
        """Payload that documents and queries need: "text" or "vector"."""
        return frozenset({"text"})

    @abstractmethod
    def index(self, documents: Documents, given: Given) -> Index: ...


@dataclass(frozen=True)
class Metric(Node, ABC):
    """A score of predictions."""

    name: ClassVar[str]
    better: ClassVar[Better]

    @abstractmethod
    def measure(self, predictions: Predictions) -> Measurement: ...


@dataclass(frozen=True, eq=False)
class Subject:
    """What a probe looks at."""

    models: tuple[Model, ...] = ()
    """Several where replicas are compared."""
    documents: tuple[Documents, ...] = ()
    """Several where data sets are compared."""
    hits: Hits | None = None


@dataclass(frozen=True)
class Probe(Technique):
    """Measures and never changes: model, mode and global generator are as before.

    It may fit a small readout of its own; what trains a network is a protocol. ``Evaluate`` takes
    one in place of a metric: it needs no head and, unless it says so, no labels.
    """

    name: ClassVar[str]
    better: ClassVar[Better | None]
    part: ClassVar[str] = "validation"
    """Of the data, which it looks at where nothing else is said."""

    def sample(self, documents: Documents) -> Documents:
        """What it looks at of a part; by default all of it."""
        return documents

    @abstractmethod
    def measure(self, subject: Subject, given: Given) -> Measurement: ...
