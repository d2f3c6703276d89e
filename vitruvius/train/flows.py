"""In which order a training sees its batches, and when it is judged: after each round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vitruvius.contracts import Batch
from vitruvius.train.feeding import Feed, steps_per_epoch
from vitruvius.train.frozen import FrozenFeed
from vitruvius.train.text_feeding import PairFeed, TextFeed

ALIKE = 16  # batches whose rows are sorted by length together


class Flow(Protocol):
    """The batches of a whole training. A round gives the same whatever ran before it."""

    @property
    def rounds(self) -> int: ...
    @property
    def batch_tokens(self) -> int:
        """Of a batch, about; items where they have no tokens."""
        ...

    def batches(self, number: int, seed: int) -> Iterator[tuple[Batch, int]]:
        """Those of a round, each with its tokens; of items without tokens, its items."""
        ...

    def fraction(self, step: int, tokens: int) -> float:
        """Of the horizon, after so many steps and tokens."""
        ...


@dataclass(frozen=True, eq=False)
class Epochs:
    """Passes over items without tokens; a round is a pass."""

    feed: Feed
    rounds: int
    batch_size: int

    @property
    def batch_tokens(self) -> int:
        return self.batch_size

    def batches(self, number: int, seed: int) -> Iterator[tuple[Batch, int]]:
        generator = torch.Generator().manual_seed(mix(seed, number, 0))
        for batch in self.feed.shuffled(self.batch_size, generator):
            yield batch, len(batch.rows)

    def fraction(self, step: int, tokens: int) -> float:
        return step / (self.rounds * steps_per_epoch(len(self.feed), self.batch_size))


@dataclass(frozen=True, eq=False)
class TextEpochs:
    """Passes over texts in batches of ``batch_size`` rows of like lengths; a round is a pass."""

    feed: TextFeed | PairFeed | FrozenFeed
    rounds: int
    batch_size: int

    @property
    def batch_tokens(self) -> int:
        return max(1, round(self.batch_size * self.feed.mean_tokens))

    def batches(self, number: int, seed: int) -> Iterator[tuple[Batch, int]]:
        generator = torch.Generator().manual_seed(mix(seed, number, 0))
        for rows in self.feed.cut_alike(self.batch_size, ALIKE, generator):
            yield self.feed.batch(rows), self.feed.tokens_of(rows)

    def fraction(self, step: int, tokens: int) -> float:
        return min(1.0, tokens / (self.rounds * int(self.feed.filled.sum())))


def epochs_of(
    feed: Feed | TextFeed | PairFeed | FrozenFeed, rounds: int, batch_size: int
) -> Epochs | TextEpochs:
    """Passes over what a feed holds."""
    if isinstance(feed, Feed):
        return Epochs(feed, rounds, batch_size)
    return TextEpochs(feed, rounds, batch_size)


class TokenStream:
    """A number of tokens, over as many passes as that takes, in batches of about ``batch_tokens``.

    A batch holds at most that many slots (rows x width), of rows of like lengths. Padding is not
    counted. ``horizon`` is of the whole training, which is judged after each of ``rounds`` parts.
    """

    def __init__(self, feed: TextFeed, horizon: int, batch_tokens: int, rounds: int) -> None:
        self.feed, self.horizon, self.batch_tokens, self.rounds = (
            feed,
            horizon,
            batch_tokens,
            rounds,
        )
        self.seed: int | None = None
        self.cuts: list[tuple[Tensor, int, int]] = []

    def batches(self, number: int, seed: int) -> Iterator[tuple[Batch, int]]:
        begin, stop = (round(self.horizon * n / self.rounds) for n in (number, number + 1))
        if seed != self.seed:
            self.seed, self.cuts = seed, list(self._cut(seed))
        for rows, count, before in self.cuts:
            if begin <= before < stop:
                yield self.feed.batch(rows), count

    def fraction(self, step: int, tokens: int) -> float:
        return min(1.0, tokens / self.horizon)

    def _cut(self, seed: int) -> Iterator[tuple[Tensor, int, int]]:
        """Rows of each batch up to the horizon, their tokens, and the tokens seen before."""
        seen = passes = 0
        while seen < self.horizon:
            generator = torch.Generator().manual_seed(mix(seed, passes, 0))
            for rows in self.feed.cut_by_tokens(self.batch_tokens, generator):
                if seen < self.horizon:
                    yield rows, (count := self.feed.tokens_of(rows)), seen
                    seen += count
            passes += 1


def mix(seed: int, number: int, use: int) -> int:
    """A seed for the use (0: order, 1: step, 2: layers) of what bears a number."""
    return (seed + 2_654_435_761 * (3 * number + use)) % 2**63
