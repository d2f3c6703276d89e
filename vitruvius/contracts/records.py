"""What passes between the roles: plain data and tensors, never a method's code.

Axes: C channels or classes, d width, N items, Q queries, k hits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitruvius.contracts.batches import Tensors
from vitruvius.contracts.documents import Array, Documents, Split

if TYPE_CHECKING:
    from vitruvius.contracts.models import Metric, Retriever
    from vitruvius.contracts.roles import Encoder, Layer
    from vitruvius.contracts.training import Objective

Kind = Literal["matrix", "embedding", "head", "norm", "bias", "gate", "kernel", "prompt"]
Sizes = Mapping[str, torch.Size]
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Lineage:
    """Where weights come from: digests. Soups and adapters compare them before they touch any."""

    initial: str
    """Of the weights at the start of the training that made these."""
    base: str | None = None
    """Of the foreign or pretrained model beneath, if any."""
    design: str = ""
    data: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    """Keys of the stages so far, in order."""
    objectives: tuple[str, ...] = ()
    """Classes of what it was pretrained by, in order: label-free scores compare none but these."""

    @property
    def family(self) -> tuple[str, str, str]:
        """What the weights of models must have in common to be mixed: start, base and design."""
        return self.initial, self.base or "", self.design


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a technique learned from data before it is used: tensors and JSON, nothing else."""

    tensors: Tensors = field(default_factory=dict)
    values: Json = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Encoding:
    """A text as tokens, T of them."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    """First character and the one after the last, of the text as given."""
    words: tuple[int, ...] | None = None


SPECIALS = ("<pad>", "<unk>", "<cls>", "<sep>", "<mask>", "<bos>", "<eos>")
"""The first tokens of every vocabulary of ours: ids 0 to 6. No text is ever encoded as one but
``<unk>``."""


@runtime_checkable
class Codec(Protocol):
    """A trained tokenizer."""

    @property
    def vocabulary(self) -> int:
        """How many ids there are."""
        ...

    def encode(self, text: str) -> Encoding: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def tokens(self) -> tuple[str, ...]:
        """The text of each id."""
        ...


@dataclass(frozen=True, eq=False)
class Prepared:
    """An input preparation with what it learned from the training part."""

    encoder: Encoder
    fitted: Fitted


@dataclass(frozen=True, eq=False)
class Model:
    """Networks with all that is needed to use them on raw data.

    A body is called ``body(stream, taps=frozenset()) -> Outputs``, a head ``head(outputs, batch)``
    and gives logits or values. Shared towers are the same object under two names.
    """

    bodies: Mapping[str, nn.Module]
    """By the stream they read: "input", "text", "target"."""
    heads: Mapping[str, nn.Module]
    """ "task", "mlm", "projector": they stay, later stages need them."""
    lineage: Lineage
    designs: Mapping[str, Layer] = field(default_factory=dict)
    """What the bodies were built from; nothing for foreign ones."""
    tokenizer: Codec | None = None
    prepared: tuple[Prepared, ...] = ()
    """What turns raw documents into what the bodies read, in order."""
    longest: int | None = None
    """Tokens of a text that its bodies read, specials included; what is beyond is cut off."""


@dataclass(frozen=True)
class Cost:
    """What something took, or would take. Parameters are a size, the others add up."""

    flops: float = 0.0
    seconds: float = 0.0
    parameters: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Progress:
    """Where a training stands: all that a schedule may read."""

    step: int
    tokens: int
    """Seen so far; of items without tokens, the items."""
    batch_tokens: int
    fraction: float | None
    """Of the horizon, from 0 to 1; None where the end is open."""
    history: tuple[float, ...] = ()
    """Validation scores so far, higher is better, one per evaluation."""


Better = Literal["higher", "lower"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """A number with its evidence."""

    name: str
    value: float
    better: Better | None = None
    """None: describes, and ranks nothing."""
    stderr: float | None = None
    items: int = 0
    cost: Cost = field(default_factory=Cost)
    comparable: str = ""
    """Only measurements with equal keys may be ranked: method, width, data, tokenizer."""
    details: Mapping[str, Array] = field(default_factory=dict)
    """Curves, matrices, values per item."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers of a model to N items."""

    values: Float[Tensor, "N ..."]
    """Probabilities [N C], or values [N] or [N ...] where the answer is a number."""
    targets: Tensor | None
    """Class indices [N], or values like ``values``; None where they are not known."""
    rows: Int[Tensor, " N"]
    texts: tuple[str, ...] = ()
    """Of generation: the answer to each item."""


@dataclass(frozen=True)
class Task:
    """What is asked of each item. Data, not code: one loop serves all."""

    name: str
    level: Literal["token", "span", "pair", "item", "set", "field", "generation"]
    labels: tuple[str, ...] = ()
    """Names of the classes; empty where the answer is a number."""
    objective: Objective | None = None
    """None: the training stage's own."""
    metric: Metric | None = None
    """None: the evaluating stage's own."""
    floors: tuple[Measurement, ...] = ()
    """What any model must beat: the majority, the last value, a classical baseline."""
    group: str | None = None
    """The attribute whose values no split may cut."""


@dataclass(frozen=True)
class Facts:
    """What is known of data, model and budget in numbers: all that a rule may read."""

    items: int
    tokens: int
    lengths: Mapping[int, int]
    """Tokens of an item to how many items have that many."""
    classes: int = 0
    parameters: int = 0
    flops: float = 0.0
    """Left to this stage."""


@runtime_checkable
class Meter(Protocol):
    """Counts work. The only source of FLOPs: 6 N D is a planner's prior."""

    @property
    def spent(self) -> Cost: ...
    def weigh(self, module: nn.Module, *x: Any) -> Cost:
        """Parameters and FLOPs of one forward pass, on meta: before a byte is allocated."""
        ...


@dataclass(frozen=True, eq=False)
class Hits:
    """What was found for Q queries, best first."""

    ids: Int[Tensor, "Q k"]
    """Positions in the documents of the index; -1 where fewer were found."""
    scores: Float[Tensor, "Q k"]
    vectors: Float[Tensor, "Q k d"] | None = None
    """Of dense indices, so that a query encoder can be trained through them."""


@runtime_checkable
class Index(Protocol):
    """Something that can be searched. Hot swap is another Index."""

    @property
    def retriever(self) -> Retriever:
        """What made it, so that other documents can be indexed alike."""
        ...

    @property
    def documents(self) -> Documents: ...
    def scores(self, queries: Documents | Tensor) -> Array:
        """Of all documents for each query, float32 [Q N]; higher is better."""
        ...

    def search(self, queries: Documents | Tensor, k: int) -> Hits:
        """Queries carry attributes (dates, filters); or are vectors [Q d] of a query encoder."""
        ...


@dataclass(frozen=True, eq=False)
class State:
    """What a stage hands on. ``digest`` stands for everything in it."""

    model: Model | None = None
    task: Task | None = None
    data: Mapping[str, Documents] = field(default_factory=dict)
    splits: Mapping[str, Split] = field(default_factory=dict)
    """ "train", "validation" and the sealed "test"."""
    index: Index | None = None
    fitted: Mapping[str, Fitted] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    digest: str = ""
