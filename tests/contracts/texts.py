"""Small token batches, and models of tokens, for policies and objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tests.contracts.layouts import layout_of
from vitruvius.contracts import (
    SPECIALS,
    Batch,
    Encoding,
    Given,
    Layout,
    Lineage,
    Model,
    Outputs,
    Stream,
)
from vitruvius.techniques.layers import Attention, Block, Decoder, Encoder, Tokens
from vitruvius.techniques.layers.transformer import Transformer

VOCABULARY = 40
LENGTHS = ((9, 4), (13,), (5,), (3, 3, 7))


class Letters:
    """A codec of as many ids as the tests have."""

    vocabulary = VOCABULARY

    def encode(self, text: str) -> Encoding:
        ids = tuple(ord(c) % (VOCABULARY - 7) + 7 for c in text)
        return Encoding(ids, tuple((i, i + 1) for i in range(len(ids))))

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))

    def tokens(self) -> tuple[str, ...]:
        return (*SPECIALS, *(str(i) for i in range(7, VOCABULARY)))


class Reading(nn.Module):
    """A network of tokens as a body."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(self.network(stream.values, stream.layout))


def given(seed: int = 0, **more: Any) -> Given:
    return Given(rng=torch.Generator().manual_seed(seed), tokenizer=Letters(), **more)


def token_batch(
    lengths: Sequence[Sequence[int]] = LENGTHS, seed: int = 0, padding: int = 2
) -> Batch:
    """Ids in documents that begin with a fixed <cls> and have words of one to three pieces."""
    layout = layout_of(lengths, max(map(sum, lengths)) + padding)
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(7, VOCABULARY, layout.segments.shape, generator=rng)
    begins = torch.rand(ids.shape, generator=rng) < 0.5
    fixed = (layout.positions == 0) & (layout.segments > 0)
    ids = ids.masked_fill(fixed, SPECIALS.index("<cls>")).masked_fill(layout.segments == 0, 0)
    words = (begins.cumsum(1)).masked_fill(fixed | (layout.segments == 0), -1)
    layout = replace(layout, words=words, fixed=fixed)
    return Batch({"input": Stream(ids, layout)}, {}, torch.arange(len(ids)))


def pair_batch(seed: int = 0) -> Batch:
    """Rows of one document, in the streams "input" and "text"."""
    one, two = (token_batch(((9,), (13,), (5,), (7,)), seed + i).streams["input"] for i in (0, 1))
    return Batch({"input": one, "text": two}, {}, torch.arange(4))


def rows_of(batch: Batch, rows: Tensor) -> Batch:
    """These rows of a batch, in this order."""

    def taken(stream: Stream) -> Stream:
        at = stream.layout
        kept = [at.positions, at.segments, at.words, at.fixed]
        return Stream(stream.values[rows], Layout(*(None if x is None else x[rows] for x in kept)))  # type: ignore[arg-type]

    streams = {name: taken(stream) for name, stream in batch.streams.items()}
    fields = {name: values[rows] for name, values in batch.fields.items()}
    return Batch(streams, fields, batch.rows[rows])


def token_model(causal: bool = False, seed: int = 0, inner: int | None = None) -> Model:
    """Two blocks of width 16, in evaluation."""
    cls: type[Transformer] = Decoder if causal else Encoder
    design = cls(Tokens(16, VOCABULARY, inner), (Block(Attention(2)), Block(Attention(2))))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = design.build(torch.zeros(1, 2, dtype=torch.long))
        for name, weight in network.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.5 if "table" in name else 0.3)
    return Model({"input": Reading(network.eval())}, {}, Lineage("seed"), {"input": design})
