"""A model of which only the head learns: each item is read once, and what was read is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vitruvius.contracts import Batch, Lab, Model, Outputs, Stream
from vitruvius.train.feeding import Feed
from vitruvius.train.predicting import BATCH, evaluating, slots
from vitruvius.train.text_feeding import PairFeed, TextFeed, cut_alike

MOST_BYTES = 2**30  # of hidden states that are kept; beyond, each epoch reads all anew


class Passing(nn.Module):
    """Gives on the hidden states that it is given."""

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(stream.values)


@dataclass(frozen=True, eq=False)
class FrozenFeed:
    """The rows of another feed with their hidden states in place of their ids."""

    feed: TextFeed | PairFeed
    hidden: dict[str, list[Tensor]]
    """By stream, of each row [T d], padding left out."""

    def __len__(self) -> int:
        return len(self.feed)

    @property
    def device(self) -> torch.device:
        return self.feed.device

    @property
    def capacity(self) -> int:
        return self.feed.capacity

    @property
    def mean_tokens(self) -> float:
        return self.feed.mean_tokens

    @property
    def filled(self) -> Tensor:
        return self.feed.filled

    def tokens_of(self, rows: Tensor) -> int:
        """In these rows, padding left out."""
        return self.feed.tokens_of(rows)

    def batch(self, rows: Tensor) -> Batch:
        """The rows at these positions."""
        made = self.feed.batch(rows)
        streams = {}
        for name, stream in made.streams.items():
            width = stream.values.shape[1]
            parts = [self.hidden[name][row] for row in rows.tolist()]
            values = torch.stack([nn.functional.pad(p, (0, 0, 0, width - len(p))) for p in parts])
            streams[name] = replace(stream, values=values.to(self.device))
        return replace(made, streams=streams)

    def cut_alike(self, size: int, pools: int, generator: torch.Generator) -> list[Tensor]:
        """All rows once, in batches of nearly equal size and like lengths."""
        return cut_alike(self.filled, size, pools, generator)

    def cut_by_tokens(self, slots: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """All rows once, in batches of at most so many slots."""
        return self.feed.cut_by_tokens(slots, generator)


def freeze(
    model: Model, feeds: Sequence[Feed | TextFeed | PairFeed], lab: Lab
) -> tuple[Model, Sequence[Feed | TextFeed | PairFeed | FrozenFeed]]:
    """A model that passes hidden states on to the same heads, and feeds that hold them.

    Where they would take more than 1 GB, the model and the feeds as they are.
    """
    if sum(_numbers(model, feed) for feed in feeds) * 4 > MOST_BYTES:
        return model, feeds
    passing = Passing()
    bodies = dict.fromkeys(model.bodies, passing)
    return replace(model, bodies=bodies), [
        _read_items(model, feed, lab) if isinstance(feed, Feed) else _read(model, feed, lab)
        for feed in feeds
    ]


def _numbers(model: Model, feed: Feed | TextFeed | PairFeed) -> int:
    """In the hidden states of all that a feed holds."""
    with evaluating(model, feed.device, torch.float32):
        batch = feed.batch(torch.arange(1))
        hidden = model.bodies["input"](batch.streams["input"]).hidden
    if isinstance(feed, Feed):
        return len(feed) * hidden.numel()
    return int(feed.filled.sum()) * hidden.shape[-1]


def _read_items(model: Model, feed: Feed, lab: Lab) -> Feed:
    with evaluating(model, lab.device, lab.precision):
        streams = (batch.streams["input"] for batch in feed.ordered(BATCH))
        hidden = torch.cat([model.bodies["input"](stream).hidden.float() for stream in streams])
    return replace(feed, inputs=hidden.clone())


def _read(model: Model, feed: TextFeed | PairFeed, lab: Lab) -> FrozenFeed:
    hidden: dict[str, list[Tensor]] = {}
    with evaluating(model, lab.device, lab.precision):
        for rows in feed.cut_by_tokens(slots(lab.device, feed.capacity)):
            batch = feed.batch(rows)
            for name, stream in batch.streams.items():
                body = model.bodies.get(name, model.bodies["input"])
                found = body(stream).hidden.float()
                kept = hidden.setdefault(name, [torch.empty(0)] * len(feed))
                for row, states, length in zip(
                    rows.tolist(), found, (stream.layout.segments > 0).sum(1).tolist(), strict=True
                ):
                    kept[row] = states[:length].clone()
    return FrozenFeed(feed, hidden)
