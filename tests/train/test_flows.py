"""Flows: what a training sees, round by round, whatever ran before it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from vitruvius.contracts import Documents
from vitruvius.data import DataError
from vitruvius.data.packing import Frame, Packed
from vitruvius.data.texts import Texts
from vitruvius.data.tokens import tokenise
from vitruvius.techniques.tokenizers import Bytes
from vitruvius.train.feeding import Feed
from vitruvius.train.flows import Epochs, TextEpochs, TokenStream
from vitruvius.train.text_feeding import PairFeed, TextFeed, cut_alike

CPU = torch.device("cpu")
FRAME = Frame(before=2, after=3)


def feed(count: int = 90, packer: Packed | None = None, seed: int = 0) -> TextFeed:
    rng = random.Random(seed)
    texts = Texts.of("".join(rng.choices("abc de", k=rng.randint(1, 60))) for _ in range(count))
    tokens = tokenise(Documents({"text": texts}), Bytes().build(None))
    return TextFeed.of(tokens, 64, CPU, packer=packer, frame=FRAME)


def test_epochs_over_items_give_each_item_once_in_a_round() -> None:
    inputs = torch.arange(30.0).unsqueeze(1)
    flow = Epochs(Feed(inputs, torch.arange(30), CPU), 3, 8)
    for number in range(3):
        seen = torch.cat([batch.rows for batch, _ in flow.batches(number, seed=5)])
        assert seen.sort().values.tolist() == list(range(30))
    assert flow.fraction(12, 0) == 1.0 and flow.batch_tokens == 8


@pytest.mark.parametrize("both", [False, True])
def test_epochs_over_texts_give_each_text_once_in_batches_of_like_lengths(both: bool) -> None:
    one = feed()
    flow = TextEpochs(PairFeed(one, feed(seed=1)) if both else one, 2, 8)
    tokens = 0
    for number in range(2):
        batches = list(flow.batches(number, seed=1))
        rows = torch.cat([batch.rows for batch, _ in batches])
        assert rows.sort().values.tolist() == list(range(90))
        for batch, count in batches:
            layouts = [stream.layout for stream in batch.streams.values()]
            assert count == sum(int((layout.segments > 0).sum()) for layout in layouts)
            tokens += count
        again = [batch.rows.tolist() for batch, _ in flow.batches(number, seed=1)]
        assert again == [batch.rows.tolist() for batch, _ in batches]
    assert flow.fraction(0, tokens) == 1.0
    slots = sum(b.streams["input"].values.numel() for b, _ in TextEpochs(one, 1, 8).batches(0, 1))
    drawn = sum(b.streams["input"].values.numel() for b in one.shuffled(8, torch.Generator()))
    assert slots < 0.85 * drawn


@pytest.mark.parametrize("rounds", [1, 3, 7])
def test_a_stream_of_tokens_ends_at_its_horizon_however_it_is_cut(rounds: int) -> None:
    whole = TokenStream(feed(packer=Packed()), 9000, 256, 1)
    every = [(b.rows.tolist(), n) for b, n in whole.batches(0, seed=3)]
    assert 9000 <= sum(n for _, n in every) < 9000 + 256
    flow = TokenStream(feed(packer=Packed()), 9000, 256, rounds)
    parts = [(b.rows.tolist(), n) for r in range(rounds) for b, n in flow.batches(r, seed=3)]
    assert parts == every
    last = TokenStream(feed(packer=Packed()), 9000, 256, rounds)
    alone = [(b.rows.tolist(), n) for b, n in last.batches(rounds - 1, seed=3)]
    assert every[len(every) - len(alone) :] == alone
    assert flow.fraction(0, 4500) == 0.5 and flow.fraction(0, 20_000) == 1.0


def test_batches_of_like_lengths_are_other_batches_in_every_epoch() -> None:
    lengths = torch.randint(1, 50, (100,), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    first, second = (cut_alike(lengths, 10, 4, generator) for _ in range(2))
    assert [b.tolist() for b in first] != [b.tolist() for b in second]
    assert all(9 <= len(batch) <= 10 for batch in first)
    spread = np.mean([float(lengths[batch].float().std()) for batch in first])
    assert spread < 0.5 * float(lengths.float().std())


def test_pairs_need_both_sides() -> None:
    with pytest.raises(DataError, match="Pairs need as many texts of both sides; got 90 and 80"):
        PairFeed(feed(), feed(80))
