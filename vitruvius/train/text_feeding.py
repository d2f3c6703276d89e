"""Batches of text: rows of a packing plan, with their layout."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vitruvius.contracts import Batch, Layout, Stream
from vitruvius.data.errors import DataError
from vitruvius.data.filling import fill
from vitruvius.data.packing import Frame, Packer, Padded, Plan
from vitruvius.data.tokens import Tokens

POOL = 4096  # rows that are sorted by length together, where batches are made by tokens


@dataclass(frozen=True, eq=False)
class TextFeed:
    """Rows of tokens as tensors, with the verbs of ``Feed``; an item is a row of the plan.

    A batch has the stream "input" (ids [B T] with positions, segments, words, fixed), the fields of
    its rows that were given ("label"), and "document" [B S]: those in each row, -1 where there are
    fewer.
    """

    tokens: Tokens
    plan: Plan
    frame: Frame
    device: torch.device
    fields: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    """Of the rows [N ...], where a row is a document."""
    multiple: int = 8
    """The width of a batch is rounded up to a multiple of this, the capacity at most."""
    full: bool = False
    """Every batch has the width of the capacity: for compiled networks."""

    @classmethod
    def of(
        cls,
        tokens: Tokens,
        capacity: int,
        device: torch.device,
        *,
        packer: Packer | None = None,
        frame: Frame | None = None,
        fields: Mapping[str, Tensor] | None = None,
        multiple: int = 8,
        full: bool = False,
    ) -> TextFeed:
        """Rows of ``capacity`` tokens. Without a packer row i is document i, cut at its end.

        Raises DataError where no row results, or fields are given and rows are not documents.
        """
        frame = frame or Frame()
        chosen = packer or Padded(longer="start")
        plan = chosen.plan(tokens.lengths, capacity, frame)
        if not plan.rows:
            raise DataError(
                f"{len(tokens):,} documents give no row of tokens: all are empty or left out. "
                "Give more text, or longer rows."
            )
        if fields and not plan.whole:
            raise DataError(
                f"Labels need one row for each of {len(tokens):,} documents; {chosen!r} gives "
                f"{plan.rows:,} rows. Use Padded(longer='start')."
            )
        return cls(tokens, plan, frame, device, fields or {}, multiple, full)

    def __len__(self) -> int:
        return self.plan.rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one item."""
        return (self.plan.capacity,)

    @functools.cached_property
    def filled(self) -> Tensor:
        """Tokens of each row, int64 [rows]."""
        return torch.from_numpy(self.plan.filled)

    @property
    def capacity(self) -> int:
        """Tokens of a row, at most."""
        return self.plan.capacity

    @property
    def mean_tokens(self) -> float:
        """Of a row."""
        return float(self.plan.filled.mean())

    def tokens_of(self, rows: Tensor) -> int:
        """In these rows, padding left out."""
        return int(self.filled[rows].sum())

    def width(self, rows: Tensor) -> int:
        """Of a batch of these rows."""
        if self.full:
            return self.plan.capacity
        longest = max(int(self.filled[rows].max()), 1)
        return min(-(-longest // self.multiple) * self.multiple, self.plan.capacity)

    def batch(self, rows: Tensor) -> Batch:
        """The rows at these positions."""
        rows = rows.cpu()
        made = fill(self.plan, self.tokens, rows.numpy(), self.frame, self.width(rows))
        layout = Layout(
            positions=self._there(made.positions),
            segments=self._there(made.segments),
            words=None if made.words is None else self._there(made.words),
            fixed=self._there(made.fixed),
            packed=bool((made.segments > 1).any()),
            padded=bool((made.segments == 0).any()),
        )
        fields = {"document": self._there(made.documents)}
        for name, values in self.fields.items():
            fields[name] = values[rows.to(values.device)].to(self.device, non_blocking=True)
        return Batch({"input": Stream(self._there(made.ids), layout)}, fields, rows)

    def ordered(self, size: int) -> Iterator[Batch]:
        """All rows once, in order."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """All rows once, in an order drawn from the generator, in batches of nearly equal size."""
        order = torch.randperm(len(self), generator=generator)
        for rows in order.tensor_split(math.ceil(len(self) / size)):
            yield self.batch(rows)

    def cut_alike(self, size: int, pools: int, generator: torch.Generator) -> list[Tensor]:
        """All rows once, in batches of nearly equal size: see ``cut_alike`` below."""
        return cut_alike(self.filled, size, pools, generator)

    def by_tokens(self, slots: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """All rows once, in batches of at most so many slots (rows x width), of like lengths.

        With a generator rows come in an order drawn from it, sorted by length within pools of 4,096
        rows, and the batches in an order drawn anew; without one, from the shortest to the longest.
        """
        for rows in self.cut_by_tokens(slots, generator):
            yield self.batch(rows)

    def cut_by_tokens(self, slots: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """The rows of each batch that ``by_tokens`` gives."""
        if slots < self.plan.capacity:
            raise DataError(
                f"A batch of {slots:,} tokens holds no row of {self.plan.capacity:,}. "
                f"Give at least {self.plan.capacity:,}."
            )
        if generator is None:
            order, pool = torch.arange(len(self)), len(self)
        else:
            order, pool = torch.randperm(len(self), generator=generator), POOL
        batches = []
        for part in order.split(pool):
            ranked = part[torch.argsort(self.filled[part], stable=True)]
            batches += self._cut(ranked, slots)
        if generator is None:
            return batches
        drawn = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[i] for i in drawn]

    def _cut(self, rows: Tensor, slots: int) -> list[Tensor]:
        """Runs of rows, of increasing length, as long as fit into ``slots``."""
        widths = torch.clamp(-(-self.filled[rows] // self.multiple) * self.multiple, min=1)
        most = torch.clamp(widths, max=self.plan.capacity).tolist()
        if self.full:
            most = [self.plan.capacity] * len(most)
        found, start = [], 0
        for i, width in enumerate(most):
            if (i + 1 - start) * width > slots:
                found.append(rows[start:i])
                start = i
        return [*found, rows[start:]]

    def _there(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device, non_blocking=True)


@dataclass(frozen=True, eq=False)
class PairFeed:
    """Two texts for each item: the streams "input" and "text". Fields are those of the first."""

    first: TextFeed
    second: TextFeed

    def __post_init__(self) -> None:
        if len(self.first) != len(self.second):
            raise DataError(
                f"Pairs need as many texts of both sides; got {len(self.first):,} and "
                f"{len(self.second):,}."
            )

    def __len__(self) -> int:
        return len(self.first)

    @property
    def device(self) -> torch.device:
        return self.first.device

    @property
    def capacity(self) -> int:
        """Tokens of a row of either side, at most."""
        return max(self.first.capacity, self.second.capacity)

    @property
    def mean_tokens(self) -> float:
        """Of an item, both texts."""
        return self.first.mean_tokens + self.second.mean_tokens

    @functools.cached_property
    def filled(self) -> Tensor:
        """Tokens of both texts of each item, int64 [N]."""
        return self.first.filled + self.second.filled

    def tokens_of(self, rows: Tensor) -> int:
        """In these items, padding left out."""
        return int(self.filled[rows].sum())

    def batch(self, rows: Tensor) -> Batch:
        """The items at these positions."""
        one, two = self.first.batch(rows), self.second.batch(rows)
        return Batch(
            {"input": one.streams["input"], "text": two.streams["input"]}, one.fields, rows
        )

    def cut_alike(self, size: int, pools: int, generator: torch.Generator) -> list[Tensor]:
        """All items once, in batches of nearly equal size, of like lengths of the second text."""
        return cut_alike(self.second.filled, size, pools, generator)

    def cut_by_tokens(self, slots: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """Items in batches of at most so many slots of the longer side."""
        longer = max(self.first, self.second, key=lambda feed: feed.mean_tokens)
        return longer.cut_by_tokens(slots, generator)


def cut_alike(lengths: Tensor, size: int, pools: int, generator: torch.Generator) -> list[Tensor]:
    """Positions of rows in batches of nearly equal size and of like lengths.

    Rows come in an order drawn from the generator; ``pools`` batches at a time are sorted by length
    together, and the batches come in an order drawn anew. So little is padding, and each epoch has
    other batches.
    """
    order = torch.randperm(len(lengths), generator=generator)
    batches: list[Tensor] = []
    count = math.ceil(len(order) / size)
    for part in order.tensor_split(max(1, round(count / pools))):
        ranked = part[torch.argsort(lengths[part], stable=True)]
        batches += ranked.tensor_split(math.ceil(len(part) / size))
    drawn = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[i] for i in drawn]
