"""The roles of networks, data and training: each a node with one verb.

A technique is a concrete subclass, in the folder of its role. It may import layers/ and schedules/
(defaults need a factored Linear, a constant rate), and no other role.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitruvius.contracts.documents import Array, Documents
from vitruvius.contracts.records import (
    Batch,
    Better,
    Codec,
    Facts,
    Fitted,
    Given,
    Hits,
    Index,
    Kind,
    Lineage,
    Measurement,
    Model,
    Predictions,
    Progress,
    Task,
    Tensors,
)
from vitruvius.space.node import Node

T = TypeVar("T")


@dataclass(frozen=True)
class Technique(Node, ABC):
    """A method with its hyperparameters: base of every role that follows."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Parts of Given that it reads beside ``rng``; checked before any compute."""

    def fit(self, given: Given) -> Fitted | None:
        """Learn once from ``given.documents``; comes back as ``given.fitted``. A stored step."""
        return None


@dataclass(frozen=True)
class Rule(Node, ABC):
    """A number that follows from data or budget; stands in a numeric field.

    ``derived`` sees decisions, a rule sees facts. It gives tokens, steps or FLOPs, never seconds.
    It is resolved before the stage is built, and the number is written into the lineage.
    """

    @abstractmethod
    def resolve(self, facts: Facts) -> float: ...


# Networks


@dataclass(frozen=True)
class Layer(Technique):
    """A part of a network with one input. It states no output shape: meta tensors tell it."""

    @abstractmethod
    def build(self, x: Tensor) -> nn.Module:
        """The module for inputs like x, on meta, batch axis included.

        Raises ValueError with what it needs where it cannot take x.
        """


@dataclass(frozen=True)
class Join(Layer):
    """A layer with several inputs: sum, concatenation, a graph."""

    @abstractmethod
    def build(self, x: Tensor, *others: Tensor) -> nn.Module: ...


@dataclass(frozen=True)
class Stem(Layer):
    """Stream to tokens: the module maps (values, layout or None) to (x [B T d], layout)."""


@dataclass(frozen=True)
class Reach:
    """What a decided mixer lets a position see; using it otherwise is Infeasible."""

    causal: bool = False
    segmented: bool = True
    """Keeps documents packed into one row apart."""
    cached: bool = False
    """Continues from ``layout.cache``."""
    coupled: bool = False
    """A row's output depends on the other rows or on padding."""
    longest: int | None = None
    """Tokens; None where any length goes."""


@dataclass(frozen=True)
class Mixer(Layer):
    """Mixes positions: the module maps (x [B T d], layout) to x. Attention, convolution, ..."""

    @abstractmethod
    def reach(self) -> Reach: ...


@dataclass(frozen=True)
class Linear(Layer):
    """A map of the last axis, in any place: dense, factored, by parameter tokens, by route."""


@dataclass(frozen=True)
class Share(Layer):
    """One set of weights in several places. Repeat(tied=True) ties decisions, this ties weights."""


@dataclass(frozen=True)
class Head(Technique):
    """From hidden to an answer. ``fit`` gives the weights of heads in closed form."""

    @abstractmethod
    def build(self, hidden: Tensor, task: Task) -> nn.Module:
        """The module for such hidden, on meta; it maps (outputs, batch) to logits or values."""

    @abstractmethod
    def predict(self, model: Model, batch: Batch, given: Given) -> Predictions:
        """Argmax, tags, beams, marginal beams, samplers."""


# Data


@dataclass(frozen=True)
class Tokenizer(Technique):
    """``fit`` trains it on ``given.documents``; None where nothing is learned (bytes)."""

    @abstractmethod
    def build(self, fitted: Fitted | None) -> Codec:
        """The trained tokenizer."""


@dataclass(frozen=True)
class Transform(Technique):
    """Documents to documents, pure. The attribute "origin" says which row each came from."""

    @abstractmethod
    def apply(self, documents: Documents, given: Given) -> Documents: ...


@dataclass(frozen=True)
class Encoder(Transform):
    """Prepares inputs: fitted on the training part alone, kept with the model, applied to all.

    Row i of the result is row i of the documents.
    """

    @abstractmethod
    def fit(self, given: Given) -> Fitted: ...


@dataclass(frozen=True)
class Miner(Transform):
    """Makes pairs: payload "query", "positive", "negative"; equal "group" masks false negatives."""


@dataclass(frozen=True)
class View(Technique):
    """A random view of a batch, anew in each step: crops, rolls, reverse complement."""

    @abstractmethod
    def view(self, batch: Batch, rng: torch.Generator) -> Batch: ...


@dataclass(frozen=True)
class Selector(Technique):
    """Scores items and decides nothing; the scores become an attribute under ``name``."""

    name: ClassVar[str]

    @abstractmethod
    def score(self, documents: Documents, given: Given) -> Array:
        """[N], or [N C] as soft labels. Of parts of the documents: the parts of the scores."""


# Training


@dataclass(frozen=True)
class Corrupted:
    """A batch as the objective shows it, with what it asks for."""

    batch: Batch
    targets: Tensors
    weight: Tensors = field(default_factory=dict)
    """Per target, >= 0: where there is a loss, and how much. No sentinel among targets."""
    chosen: Bool[Tensor, "B T"] | None = None
    """The positions that were drawn; never fixed ones, never padding."""
    changed: Bool[Tensor, "B T"] | None = None
    """Those of them that look different now."""


@dataclass(frozen=True, eq=False)
class Loss:
    """What a step gives to the loop, in nats where it is a likelihood."""

    value: Float[Tensor, ""]
    per_row: Float[Tensor, " B"] | None = None
    parts: Tensors = field(default_factory=dict)
    """Its terms, detached, for the curves."""
    accumulated: bool = False
    """.grad is filled already: the loop does not call backward."""


@dataclass(frozen=True)
class Objective(Technique):
    """What training minimises. ``step`` is all the loop calls."""

    def build(self, model: Model) -> nn.Module | None:
        """Its own parts: head, generator, projections; may hold modules of the model."""
        return None

    def sources(self) -> tuple[str, ...]:
        """Names of other flows of data; a batch of each comes in ``batch.sources``."""
        return ()

    def corrupt(self, batch: Batch, now: Progress, given: Given) -> Corrupted:
        """Depends on rows, seed and step alone. By default nothing is hidden."""
        return Corrupted(batch, batch.fields)

    @abstractmethod
    def loss(self, model: Model, parts: nn.Module | None, seen: Corrupted, given: Given) -> Loss:
        """Invariant to the order of rows and to padding, unless a mixer is coupled."""

    def step(
        self, model: Model, parts: nn.Module | None, batch: Batch, now: Progress, given: Given
    ) -> Loss:
        """The loss of one batch: corrupt, then loss."""
        return self.loss(model, parts, self.corrupt(batch, now, given), given)


@dataclass(frozen=True)
class Policy(Technique):
    """What to hide of a batch: masks keep the length, spans and dropped tokens do not."""

    @abstractmethod
    def hide(self, batch: Batch, now: Progress, given: Given) -> Corrupted: ...


@dataclass(frozen=True)
class Schedule(Node, ABC, Generic[T]):
    """A value over the progress of a training: pure. A number, a mixture, a length, a node.

    As a learning rate it is a factor of the optimizer's own.
    """

    @abstractmethod
    def value(self, now: Progress) -> T: ...

    def horizon_free(self, now: Progress) -> bool:
        """True where no value up to now depends on the horizon: such rungs are shared."""
        return False


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters that are treated alike."""

    names: tuple[str, ...]
    parameters: tuple[nn.Parameter, ...]
    kind: Kind = "matrix"
    rate: float = 1.0
    """Factor of the learning rate."""
    width_ratio: float = 1.0
    """Fan-in over that of the base model (maximal update parametrisation)."""
    decay: bool = True


@dataclass(frozen=True)
class Optimizer(Technique):
    """``step(closure)`` is how the loop calls what it builds; the closure runs a whole step."""

    @abstractmethod
    def build(self, groups: Sequence[Group]) -> torch.optim.Optimizer:
        """One param group for each group, in order, with its "lr" at the schedule's factor 1."""


@dataclass(frozen=True)
class Inherited:
    """What became of weights that came from elsewhere."""

    sources: dict[str, str] = field(default_factory=dict)
    """New parameter to old one: optimizer state is re-indexed by it."""
    overlap: float = 0.0
    """Share of the parameters that were inherited, by count."""
    exact: bool = False
    """Outputs are the parent's."""


@dataclass(frozen=True)
class Initializer(Technique):
    """Weights before training: random, loaded, grown, generated, rows of new words."""

    @abstractmethod
    def initialize(self, model: Model, given: Given) -> Inherited:
        """Writes into the model's parameters, in place, drawing from ``given.rng`` alone."""


@dataclass(frozen=True)
class At(Node):
    """An intervention in a training: compressor, initializer, adapter, merger or probe, at a time.

    So come gradual pruning, growth, unfreezing, averaging, and a probe as stopping rule.
    Whatever it keeps between times is in every checkpoint.
    """

    when: Schedule[bool]
    technique: Technique


# After training


@dataclass(frozen=True)
class Structure:
    """What is left of a model's tensors, by parameter name."""

    masks: Tensors = field(default_factory=dict)
    """True where an entry stays; held under any optimizer."""
    kept: Tensors = field(default_factory=dict)
    """Of tensors that became smaller: the rows that stay, as positions of the old."""


@dataclass(frozen=True, eq=False)
class Compressed:
    """A smaller model, and what it needs to recover."""

    model: Model
    structure: Structure
    origin: dict[str, str] = field(default_factory=dict)
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
    score: Measurement
    lineage: Lineage


@dataclass(frozen=True, eq=False)
class Merged:
    """Tensors of one model out of many."""

    tensors: Tensors
    shares: tuple[float, ...]
    """Of the candidates, in their order, summing to 1; 0 where one was left out."""


@dataclass(frozen=True)
class Merger(Technique):
    """One model out of several with equal tensor names and shapes. Of one alone: that one."""

    @abstractmethod
    def merge(self, candidates: Sequence[Candidate], given: Given) -> Merged:
        """Refuses candidates whose lineage has another start."""


@dataclass(frozen=True)
class Retriever(Technique):
    """Builds an index. Those that fuse, rerank or filter wrap others, with the same verb."""

    @abstractmethod
    def index(self, documents: Documents, given: Given) -> Index: ...


# Judging


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

    It may fit a small readout of its own; what trains a network is a protocol.
    """

    @abstractmethod
    def measure(self, subject: Subject, given: Given) -> Measurement: ...
