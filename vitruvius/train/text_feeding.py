"""Batches of text: rows of a packing plan, with their layout."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
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

    A batch has the stream "input" (ids [B T] with positions, segments, words, fixed) and the fields
    "label" [B], where labels were given, and "document" [B S]: those in each row, -1 where there
    are fewer.
    """

    tokens: Tokens
    plan: Plan
    frame: Frame
    device: torch.device
    label: Tensor | None = None
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
        label: Tensor | None = None,
        multiple: int = 8,
        full: bool = False,
    ) -> TextFeed:
        """Rows of ``capacity`` tokens. Without a packer row i is document i, cut at its end.

        Raises DataError where no row results, or labels are given and rows are not documents.
        """
        frame = frame or Frame()
        chosen = packer or Padded(longer="start")
        plan = chosen.plan(tokens.lengths, capacity, frame)
        if not plan.rows:
            raise DataError(
                f"{len(tokens):,} documents give no row of tokens: all are empty or left out. "
                "Give more text, or longer rows."
            )
        if label is not None and not plan.whole:
            raise DataError(
                f"Labels need one row for each of {len(tokens):,} documents; {chosen!r} gives "
                f"{plan.rows:,} rows. Use Padded(longer='start')."
            )
        return cls(tokens, plan, frame, device, label, multiple, full)

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
        if self.label is not None:
            found = self.label[rows.to(self.label.device)]
            fields["label"] = found.to(self.device, non_blocking=True)
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
