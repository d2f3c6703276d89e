"""What passes between the roles: plain data and tensors, never a method's code.

Axes: B items of a batch, T tokens, C channels or classes, d width, N items, Q queries, k hits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitruvius.contracts.documents import Array, Documents, Split

if TYPE_CHECKING:
    from vitruvius.contracts.adapters import Adapted
    from vitruvius.contracts.models import Metric, Retriever
    from vitruvius.contracts.roles import Encoder, Layer
    from vitruvius.contracts.stages import Lab
    from vitruvius.contracts.training import Objective

Kind = Literal["matrix", "embedding", "head", "norm", "bias", "gate", "kernel", "prompt"]
Tensors = Mapping[str, Tensor]
Sizes = Mapping[str, torch.Size]
Json = Mapping[str, Any]
Batches = Callable[[], Iterator["Batch"]]


def _absent() -> Any:
    """Stands for what was not given."""
    return _absent


@dataclass(frozen=True, eq=False)
class Layout:
    """All that a mixer or readout may know beside x. Positions restart in each segment."""

    positions: Int[Tensor, "B T"]
    segments: Int[Tensor, "B T"]
    """0 is padding, on any side; documents packed into one row are 1, 2, ..."""
    words: Int[Tensor, "B T"] | None = None
    """Word of each piece, from offsets."""
    fixed: Bool[Tensor, "B T"] | None = None
    """Never corrupted, never cut away: specials, prompt and label slots."""
    kept: Int[Tensor, "B K"] | None = None
    """The positions an encoder may see, where tokens are dropped."""
    route: Int[Tensor, " B"] | None = None
    """Task, domain, class or client of each row."""
    slots: Int[Tensor, "B T"] | None = None
    """Where an adapter puts tokens of its own: which of them stands there; -1 where none does."""
    edges: Int[Tensor, "B E 2"] | None = None
    """Of graphs: from and to, as positions; -1 where a row has fewer."""
    cache: dict[str, Tensor] | None = None
    """Keys and values so far, by mixer; mixers add to it in place."""
    packed: bool = True
    """False: it is known that no row holds more than one document."""
    padded: bool = True
    """False: it is known that no slot is padding."""
    shared: dict[Any, Any] | None = None
    """What mixers compute once per pass, such as masks: empty from the network, gone after it."""

    @property
    def first_pieces(self) -> Bool[Tensor, "B T"]:
        """True at the first piece of each word that is in a row."""
        if self.words is None:
            raise ValueError(
                "Layout.words is not known: tokenise with words=True, or with tokenise_words."
            )
        before = torch.nn.functional.pad(self.words, (1, 0), value=-1)[:, :-1]
        return self.words > before.cummax(1).values


@dataclass(frozen=True, eq=False)
class Stream:
    """What one body reads: ids [B T], numbers [B T C], pixels [B C H W], table rows [B C]."""

    values: Tensor
    layout: Layout = field(default_factory=_absent)
    """Where items have no tokens (table rows, whole images), an item is one token."""

    def __post_init__(self) -> None:
        if self.__dict__["layout"] is _absent:
            object.__delattr__(self, "layout")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name != "layout":
                raise AttributeError(f"Stream has no {name!r}.")
            ones = torch.ones(len(self.values), 1, dtype=torch.long, device=self.values.device)
            object.__setattr__(self, "layout", Layout(ones - 1, ones))
            return self.__dict__["layout"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some items, as tensors. Row i of every stream and field belongs to item ``rows[i]``."""

    streams: Mapping[str, Stream]
    """ "input"; also "target" (its answer), "text" (second tower), "passages" (B * k rows)."""
    fields: Tensors
    """Labels under "label"; times, climatology, spans, scores under their names. [B ...]"""
    rows: Int[Tensor, " B"]
    """Positions in the Documents: for audit, caches and predictions."""
    sources: Mapping[str, Batch] = field(default_factory=dict)
    """A batch of each other flow of data that the objective names in ``sources``."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a body makes of a stream."""

    hidden: Float[Tensor, "B *T d"]
    """[B T d], [B d] of items without tokens, [B d H W] of images before pooling."""
    penalties: Tensors = field(default_factory=dict)
    """Losses that layers bring themselves, weighted; the loop adds them."""
    taps: Tensors = field(default_factory=dict)
    """Inner values asked for by name: "layer.3", "11.ffn.in", "11.attention.row".

    "11.ffn.down.original" is what an edited site would give for the same input without its edit;
    "original" asks for it, and for "11.ffn.down" as it is now, of all sites with a branch.
    """


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Given:
    """What a technique may ask for and may not import.

    Each technique names what it reads in ``needs``; that is checked before any compute. What was
    not given raises when it is read.
    """

    rng: torch.Generator = field(default_factory=_absent)
    """In training seeded anew for each step, from the stage and the step alone."""
    task: Task = field(default_factory=_absent)
    documents: Documents = field(default_factory=_absent)
    target: Documents = field(default_factory=_absent)
    """Of the domain that is aimed at, where ``documents`` are of another."""
    batches: Batches = field(default_factory=_absent)
    """Of the documents, all once; to a merger those that ``judge`` measures on."""
    facts: Facts = field(default_factory=_absent)
    meter: Meter = field(default_factory=_absent)
    models: Mapping[str, Model] = field(default_factory=_absent)
    """ "teacher", "base", "parent", "control", "ladder.0", ...; their abilities in ``scores``."""
    scores: Mapping[str, Measurement] = field(default_factory=_absent)
    """Of ``models``, under the same names."""
    adapted: Adapted = field(default_factory=_absent)
    """The edits of the model at hand."""
    index: Index = field(default_factory=_absent)
    judge: Callable[[Tensors], Measurement] = field(default_factory=_absent)
    """Validation score of the model at hand with these tensors in it."""
    answers: Callable[[Tensors, Batch], Tensor] = field(default_factory=_absent)
    """Logits or values of the model at hand, in evaluation, with these tensors in it; their
    gradient reaches the tensors."""
    fitted: Fitted = field(default_factory=_absent)
    """What the technique's own ``fit`` returned."""
    tokenizer: Codec = field(default_factory=_absent)
    """Of the model at hand: its vocabulary and special ids."""
    lab: Lab = field(default_factory=_absent)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            if self.__dict__[f.name] is _absent:
                object.__delattr__(self, f.name)

    def but(self, **parts: Any) -> Given:
        """With some parts added or replaced."""
        return Given(**{**self.__dict__, **parts})

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in {f.name for f in dataclasses.fields(self)}:
                raise AttributeError(
                    f"Nothing was given as {name!r}; there is {sorted(self.__dict__)}. "
                    f"A technique that reads it names {name!r} in its needs."
                )
            raise AttributeError(f"Given has no {name!r}.")


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
