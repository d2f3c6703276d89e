"""What a network reads and what it makes of it.

Axes: B items of a batch, T tokens, C channels or classes, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Tensors = Mapping[str, Tensor]
Batches = Callable[[], Iterator["Batch"]]


def absent() -> Any:
    """Stands for what was not given."""
    return absent


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
    layout: Layout = field(default_factory=absent)
    """Where items have no tokens (table rows, whole images), an item is one token."""

    def __post_init__(self) -> None:
        if self.__dict__["layout"] is absent:
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
