"""Adapters: what is edited (Edit), where (Sites), and who makes the tensors (Source).

A stage says ``adapted = attach(adapter, model, given)`` (train/adapting.py), trains
``adapted.model`` with the ordinary loop, and ends with ``adapted.merge()`` or ``detach()``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vitruvius.contracts.batches import Layout, Tensors
from vitruvius.contracts.given import Given
from vitruvius.contracts.models import Structure
from vitruvius.contracts.records import Fitted, Lineage, Model, Sizes
from vitruvius.contracts.roles import Technique
from vitruvius.space.node import Node

SiteKind = Literal[
    "linear",
    "convolution",
    "norm",
    "embedding",
    "attention",
    "ffn",
    "layer",
    "output",
    "parameter",
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
    """Empty: every kind, and all that stands outside of a site."""
    places: tuple[str, ...] = ()
    """Empty: every place."""
    depths: tuple[float, ...] = ()
    """Layers as shares of the depth, from 0 (first) to 1 (last); empty: every layer."""
    towers: tuple[str, ...] = ()
    """Bodies by name; empty: all."""


Start = Literal["zero", "one", "kaiming", "normal", "identity"]


@dataclass(frozen=True)
class Wanted:
    """A tensor that an edit wants at a site: its size, and how it starts.

    An edit chooses starts under which it changes nothing. A source that makes tensors in another
    way keeps to that: what is to start at zero starts at zero.
    """

    size: torch.Size
    start: Start = "zero"
    """"kaiming": uniform within 1 / sqrt(last axis); "normal": of deviation ``scale``;
    "identity": ones on the diagonal of the last two axes."""
    scale: float = 0.02


Wants = Mapping[str, Wanted]


@dataclass(frozen=True)
class Source(Technique):
    """Makes the tensors of a part: free, loaded and resized, projected from a few numbers,
    generated."""

    identity: ClassVar[bool] = True
    """Whether what an edit wants to start at zero does; where not, the docstring says why."""

    @abstractmethod
    def tensors(
        self, wants: Mapping[str, Wants], sites: Mapping[str, Site], given: Given
    ) -> nn.Module:
        """For all sites of a part, by path, at once, so that they may share.

        Its forward(route [B] or None) gives for each path the tensors by their names there:
        ``{"input.network.blocks.0.mixer.query": {"a": ..., "b": ...}}``. Called once per pass. With
        a route, those that depend on it have a first axis B more.
        """

    @abstractmethod
    def count(self, wants: Mapping[str, Wants], sites: Mapping[str, Site]) -> int:
        """Numbers that train in it, exactly; nothing is made."""


@dataclass(frozen=True)
class Adapter(Technique):
    """How a pretrained model is changed with little to train. Attached again, it stacks by name."""

    @property
    def identity(self) -> bool:
        """Whether the model is unchanged at the start; where not, the docstring says why."""
        return True

    @property
    def frozen(self) -> bool:
        """True: nothing in the bodies trains and they stay in evaluation, so that the hidden states
        of a text are the same in every epoch, and a stage may compute them once."""
        return False

    knob: ClassVar[str] = ""
    """The field, a whole number, by which it grows: rank, width, length; none where it has no
    such."""
    further: ClassVar[tuple[str, ...]] = ()
    """Other fields by which it grows."""

    def settled(self, numbers: int, count: Callable[[Adapter], int]) -> Adapter:
        """What is attached to a base of so many numbers: most often itself.

        ``count`` gives the numbers of an adapter that would train in the bodies, exactly, and
        raises ValueError where it does not fit.
        """
        return self

    @abstractmethod
    def parts(self) -> tuple[Part, ...]: ...


@dataclass(frozen=True)
class ForeignAdapter(Adapter):
    """An adapter of another library, which attaches itself: it has no parts that are ours."""

    def parts(self) -> tuple[Part, ...]:
        return ()

    @abstractmethod
    def attach(self, model: Model, given: Given) -> Adapted:
        """Changes the bodies in place. Raises ValueError before it changes anything.

        What it draws comes from ``given.rng``.
        """


@dataclass(frozen=True)
class Edit(Adapter):
    """A change of a site, whoever makes its tensors.

    Alone it is an adapter: one part, at the sites and with the source of its paper.
    """

    @abstractmethod
    def wants(self, site: Site) -> Wants:
        """Which tensors it wants there; nothing where it cannot act on such a site.

        Raises ValueError where it should and the site is too small for it.
        """


@dataclass(frozen=True)
class WeightDelta(Edit):
    """Adds to a parameter, of any order: W + delta."""

    def fixed(self, weight: Tensor, rng: torch.Generator) -> Tensors:
        """What it reads off a weight of the base when it is attached, such as places of entries.

        Comes among its tensors under these names, never trains, and is saved with the rest.
        """
        return {}

    @abstractmethod
    def delta(self, t: Tensors, weight: Tensor) -> Tensor:
        """The change itself, to merge and to measure."""

    def forward(self, t: Tensors, x: Tensor, module: nn.Module) -> Tensor | None:
        """What the delta adds to the output for the input x, where that is cheaper than building
        it; None: it is built."""
        return None

    def cut(self, t: Tensors, shape: torch.Size, axis: int, kept: Tensor) -> Tensors:
        """Its tensors once of a weight of this shape the places ``kept`` alone stay along an axis.

        With them the delta is what it was at these places.
        """
        raise ValueError(
            f"{type(self).__name__} cannot follow weights that become smaller. "
            "Call merge() first and prune then, or take LowRank."
        )


@dataclass(frozen=True)
class Branch(Edit):
    """Computes beside a site: from its input x and output y to a new output."""

    of_heads: ClassVar[bool] = False
    """True: at sites "attention", where y is what all heads give, one after the other, before the
    map back."""

    @abstractmethod
    def forward(
        self, t: Tensors, x: Tensor, y: Tensor, layout: Layout, carried: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The new output, and what is carried to the next site of the part (None at the first)."""

    def delta(self, t: Tensors, weight: Tensor) -> Tensor | None:
        """What it adds to the weight of a linear site; None where it is no linear map of x, and
        so cannot be merged."""
        return None


@dataclass(frozen=True)
class ExtraTokens(Edit):
    """Its tensors are more tokens.

    At sites "attention" they are "key" and "value" [l, key width]: seen by every token, at no
    position. At sites "layer" they are "tokens" [l, d]: they stand in front of each document, or
    after the patches of an image, from that layer on, until those of a later layer take their
    place; no output has them.
    """


@dataclass(frozen=True)
class Reader(Edit):
    """Reads what layers give, without gradient, and gives the hidden of the model in its place."""

    @abstractmethod
    def read(self, t: Mapping[str, Tensors], taps: Tensors, layout: Layout) -> Tensor:
        """Hidden [B T d]. ``taps``: "stem", "layer.0" and on, and "hidden" of the base; ``t`` are
        its tensors by "layer.N" and "output", the sites that they were wanted at."""


@dataclass(frozen=True)
class Replace(Edit):
    """Puts another module in the place of one: thin twins, experts by route."""

    def wants(self, site: Site) -> Wants:
        """None: what it puts there has its own."""
        return {}

    def fits(self, site: Site) -> bool:
        """Whether it may put something there."""
        return True

    @abstractmethod
    def swap(self, module: nn.Module, given: Given) -> nn.Module | None:
        """What stands in its place, its parameters to be trained; None where it stays."""

    def weight(self, swapped: nn.Module) -> Tensor | None:
        """The weight of a plain module that does the same; None where there is none."""
        return None


@dataclass(frozen=True)
class Choose(Edit):
    """Trains entries of the base itself: biases, masks, all of it.

    The base is kept beside, so that it can be had back and the difference be told.
    """

    def wants(self, site: Site) -> Wants:
        """None of its own."""
        return {}

    def parts(self) -> tuple[Part, ...]:
        return (Part(Sites(kinds=()), self),)

    @abstractmethod
    def choose(self, model: Model, given: Given) -> Tensors:
        """By name in ``base_parameters(model)``, True where an entry trains.

        Each of its parameter's shape; a name that is missing stays frozen. ``whole(parameter)``
        is True everywhere.
        """


@dataclass(frozen=True)
class Part(Node):
    """One edit at some sites, with tensors from a source."""

    sites: Sites
    edit: Edit
    source: Source | None = None
    """None where the edit wants no tensors of its own."""


@runtime_checkable
class Adapted(Protocol):
    """A model with edits. It refuses tensors that were made for a base of another digest.

    It ends with ``merge`` or ``detach``; after that it can do nothing more.
    """

    @property
    def model(self) -> Model:
        """To be trained: of its bodies, what requires a gradient and nothing else."""
        ...

    @property
    def count(self) -> int:
        """Numbers in its bodies that train."""
        ...

    def deltas(self) -> Tensors:
        """By name of the base's parameter: what is added to it by now, in its shape."""
        ...

    def unmergeable(self) -> str | None:
        """Why its edits cannot become weights of the base; None where they can."""
        ...

    def merge(self, keep: bool = False) -> Model:
        """A plain model with the edits in its weights; all else is as before the attaching.

        With ``keep``, what the weights were is kept for ``unmerge``. Raises ValueError, with
        nothing changed, where an edit is none of the weights.
        """
        ...

    def unmerge(self) -> Model:
        """After ``merge(keep=True)``: the base bit for bit, and the edits beside it again."""
        ...

    def detach(self) -> Model:
        """The base, bit for bit."""
        ...

    def save(self) -> tuple[Fitted, Lineage]:
        """What was trained, with the digest of the base beneath under ``base``."""
        ...

    def load(self, saved: Fitted, lineage: Lineage) -> None:
        """Puts in what another of the same adapter, on the same base, has saved."""
        ...

    def original(self) -> AbstractContextManager[None]:
        """Inside, the model behaves as its base: for losses against it.

        Passes inside are without gradient, and backward passes are taken outside.
        """
        ...

    def restrict(self, structure: Structure, model: Model) -> Adapted:
        """The same edits on this base after pruning, which is ``model``."""
        ...


def base_parameters(model: Model) -> Mapping[str, nn.Parameter]:
    """Those of its bodies, each once: "input.network.norm.weight" is stream, then path."""
    seen: set[int] = set()
    found: dict[str, nn.Parameter] = {}
    for stream, body in model.bodies.items():
        for path, parameter in body.named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{stream}.{path}"] = parameter
    return found


def whole(parameter: Tensor) -> Tensor:
    """True for each of its entries, in the memory of one."""
    return torch.ones((), dtype=torch.bool, device=parameter.device).expand(parameter.shape)
