"""Adapters: what is edited (Edit), where (Sites), and who makes the tensors (Source)."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from vitruvius.contracts.models import Structure
from vitruvius.contracts.records import Fitted, Given, Layout, Lineage, Model, Sizes, Tensors
from vitruvius.contracts.roles import Technique
from vitruvius.space.node import Node

SiteKind = Literal[
    "linear", "convolution", "norm", "embedding", "attention", "ffn", "layer", "output"
]


@dataclass(frozen=True)
class Site:
    """A place in a model, found by structure, never by one library's names."""

    path: str
    kind: SiteKind
    place: str
    """Its part in the block: "attention.query", "ffn.down", or the kind again."""
    depth: int
    tower: str
    sizes: Sizes
    """Of its parameters, by name; of its input and output under "input" and "output"."""


@dataclass(frozen=True)
class Sites(Node):
    """Which sites of a model: all of these kinds, narrowed by what else is given."""

    kinds: tuple[str, ...] = ("linear",)
    places: tuple[str, ...] = ()
    """Empty: every place."""
    depths: tuple[float, ...] = ()
    """Layers as shares of the depth, from 0 (first) to 1 (last); empty: every layer."""
    towers: tuple[str, ...] = ()
    """Bodies by name; empty: all."""


@dataclass(frozen=True)
class Source(Technique):
    """Makes tensors: free, loaded and resized, projected from a few numbers, generated."""

    @abstractmethod
    def tensors(self, sizes: Sizes, given: Given) -> nn.Module:
        """Its forward(route [B] or None) gives Tensors of these sizes; called once per pass."""


@dataclass(frozen=True)
class Adapter(Technique):
    """How a pretrained model is changed with little to train. Attached again, it stacks by name."""

    identity: ClassVar[bool] = True
    """Whether the model is unchanged at the start; where not, the docstring says why."""

    @abstractmethod
    def parts(self) -> tuple[Part, ...]: ...


@dataclass(frozen=True)
class Edit(Adapter):
    """A change of a site, whoever makes its tensors.

    Alone it is an adapter: one part, at the sites and with the source of its paper.
    """

    @abstractmethod
    def sizes(self, site: Site) -> Sizes:
        """Which tensors it wants there; nothing where it cannot act on such a site."""


@dataclass(frozen=True)
class WeightDelta(Edit):
    """Adds to a weight, of any order: W + delta."""

    @abstractmethod
    def delta(self, t: Tensors, weight: Tensor) -> Tensor:
        """The change itself, to merge and to measure."""

    def forward(self, t: Tensors, x: Tensor, module: nn.Module) -> Tensor | None:
        """What the delta adds to the output, where that is cheaper than building it."""
        return None


@dataclass(frozen=True)
class Branch(Edit):
    """Computes beside a module: from its input x and output y to a new output."""

    @abstractmethod
    def forward(
        self, t: Tensors, x: Tensor, y: Tensor, layout: Layout, carried: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The new output, and what is carried to the next site of the part (None at the first)."""


@dataclass(frozen=True)
class ExtraTokens(Edit):
    """Its tensors are more tokens: keys and values, positions of the sequence, or table rows."""

    place: Literal["keys_values", "sequence", "rows"] = field(default="sequence", kw_only=True)


@dataclass(frozen=True)
class Reader(Edit):
    """Reads the outputs of its sites without gradient, and gives the hidden of the model."""

    @abstractmethod
    def read(self, t: Tensors, taps: Tensors, layout: Layout) -> Tensor: ...


@dataclass(frozen=True)
class Replace(Edit):
    """Puts another module in the place of one: thin twins, experts by route."""

    @abstractmethod
    def swap(self, t: Tensors, module: nn.Module) -> nn.Module: ...


@dataclass(frozen=True)
class Choose(Edit):
    """Trains entries of the base itself, kept as a difference: biases, masks, all of it."""

    @abstractmethod
    def choose(self, model: Model, given: Given) -> Tensors:
        """By parameter name, True where an entry trains; a name that is missing stays frozen."""


@dataclass(frozen=True)
class Part(Node):
    """One edit at some sites, with tensors from a source."""

    sites: Sites
    edit: Edit
    source: Source


@runtime_checkable
class Adapted(Protocol):
    """A model with edits. It refuses tensors that were made for a base of another digest."""

    @property
    def model(self) -> Model: ...
    @property
    def count(self) -> int:
        """Parameters that train: the sum of all sizes."""
        ...

    def deltas(self) -> Tensors: ...
    def merge(self) -> Model: ...
    def detach(self) -> Model:
        """The base, bit for bit."""
        ...

    def save(self) -> tuple[Fitted, Lineage]: ...
    def original(self) -> AbstractContextManager[None]:
        """Inside, the model behaves as its base: for losses against it."""
        ...

    def restrict(self, structure: Structure) -> Adapted:
        """The same edits on the base after pruning."""
        ...
