"""The roles of training: what is minimised, by what, from where."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitruvius.contracts.batches import Batch, Tensors
from vitruvius.contracts.given import Given
from vitruvius.contracts.records import Kind, Model, Progress
from vitruvius.contracts.roles import Technique
from vitruvius.space.node import Node

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
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
    most: int | None = None
    """At most so many are chosen in a row, where that is known without looking."""


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

    reads: ClassVar[str] = "labels"
    """What its batches hold: "labels", "tokens", "items" without any of these, or "pairs" (streams
    "input" and "text")."""

    def build(self, model: Model) -> nn.Module:
        """Its own parts: generator, projections, temperature; may hold modules of the model."""
        return nn.Module()

    def heads(self, parts: nn.Module) -> Mapping[str, nn.Module]:
        """Those of its parts that stay with the model, by their name among its heads."""
        return {}

    def sources(self) -> tuple[str, ...]:
        """Names of other flows of data; a batch of each comes in ``batch.sources``."""
        return ()

    def corrupt(self, batch: Batch, now: Progress, given: Given) -> Corrupted:
        """Depends on rows, seed and step alone. By default nothing is hidden."""
        return Corrupted(batch, batch.fields)

    @abstractmethod
    def loss(
        self, model: Model, parts: nn.Module, seen: Corrupted, now: Progress, given: Given
    ) -> Loss:
        """Invariant to the order of rows and to padding, unless a mixer is coupled."""

    def step(
        self, model: Model, parts: nn.Module, batch: Batch, now: Progress, given: Given
    ) -> Loss:
        """The loss of one batch: corrupt, then loss."""
        return self.loss(model, parts, self.corrupt(batch, now, given), now, given)


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
        """True where no value up to now depends on the horizon: such rungs are shared.

        By all horizons of which this is true at the same step: before its decay, WSD does not ask
        how far the end is.
        """
        return False


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters that are treated alike.

    What they are is said by class facts of their modules (``parameter_kinds``, ``rates``,
    ``decays``): an attribute set on a Parameter is lost by deepcopy.
    """

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


@dataclass(frozen=True, eq=False)
class Inherited:
    """What became of weights that came from elsewhere."""

    sources: Mapping[str, str] = field(default_factory=dict)
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
