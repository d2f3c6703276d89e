"""The roles of networks and data: each a node with one verb.

A technique is a concrete subclass, in the folder of its role. It may import layers/, policies/,
schedules/ and views/ (defaults need a factored Linear, a mask, a constant rate, a picture drawn
anew), and no other role.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vitruvius.contracts.batches import Batch
from vitruvius.contracts.documents import Array, Documents
from vitruvius.contracts.given import Given
from vitruvius.contracts.records import Codec, Facts, Fitted, Model, Predictions, Task
from vitruvius.space.node import Node


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

    numeric: ClassVar[bool] = True

    @abstractmethod
    def resolve(self, facts: Facts) -> float: ...


# Networks


@dataclass(frozen=True)
class Layer(Technique):
    """A part of a network with one input. It states no output shape: meta tensors tell it."""

    reads_layout: ClassVar[bool] = False
    """Its module is called (x, layout)."""

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
    """Stream to tokens: the module maps (values, layout) to (x [B T d], layout)."""

    reads_layout: ClassVar[bool] = True


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

    reads_layout: ClassVar[bool] = True

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
    """A random view of a batch, anew in each step: crops, rolls, reverse complement.

    Fields and rows stay. It depends on the items, their rows and the next number of ``rng`` alone.
    """

    @abstractmethod
    def view(self, batch: Batch, rng: torch.Generator) -> Batch: ...


@dataclass(frozen=True)
class Selector(Technique):
    """Scores items and decides nothing; the scores become an attribute under ``name``."""

    name: ClassVar[str]

    @abstractmethod
    def score(self, documents: Documents, given: Given) -> Array:
        """[N], or [N C] as soft labels. Of parts of the documents: the parts of the scores."""
