"""Rows of tokens as batches: all of them, once, with their layout."""

import random

import numpy as np
import pytest
import torch

from vitruvius.contracts import Batch, Documents
from vitruvius.data import DataError
from vitruvius.data.packing import Concatenated, Frame, Packed, Padded
from vitruvius.data.texts import Texts
from vitruvius.data.tokens import Tokens, tokenise
from vitruvius.techniques.tokenizers import Bytes
from vitruvius.train.text_feeding import TextFeed

CPU = torch.device("cpu")
FRAME = Frame(before=2, after=3)
CODEC = Bytes().build(None)


def texts(count: int = 50) -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choices("abc de", k=rng.randint(1, 60))) for _ in range(count)]


def tokens(words: bool = False) -> Tokens:
    return tokenise(Documents({"text": Texts.of(texts())}), CODEC, words=words)


def read(batches: list[Batch]) -> list[str]:
    """The texts in batches, by segment."""
    found = []
    for batch in batches:
        stream = batch.streams["input"]
        for ids, segments in zip(stream.values, stream.layout.segments, strict=True):
            for segment in range(1, int(segments.max()) + 1):
                found.append(CODEC.decode(ids[segments == segment].tolist()))
    return found


def test_ordered_gives_row_i_for_document_i_with_its_label():
    label = torch.arange(50)
    feed = TextFeed.of(tokens(), 64, CPU, frame=FRAME, fields={"label": label})
    batches = list(feed.ordered(8))
    assert read(batches) == texts()
    assert torch.cat([b.rows for b in batches]).tolist() == list(range(50))
    assert torch.cat([b.fields["label"] for b in batches]).tolist() == list(range(50))
    assert all(b.fields["document"][:, 0].tolist() == b.rows.tolist() for b in batches)
    assert len(feed) == 50 and feed.shape == (64,)


@pytest.mark.parametrize("packer", [Padded(), Packed()])
def test_every_way_to_batch_gives_all_rows_once(packer: Padded | Packed):
    feed = TextFeed.of(tokens(), 64, CPU, packer=packer, frame=FRAME)
    generator = torch.Generator()
    for batches in (
        list(feed.ordered(7)),
        list(feed.shuffled(7, generator.manual_seed(0))),
        list(feed.by_tokens(256, generator.manual_seed(0))),
        list(feed.by_tokens(256)),
    ):
        assert sorted(torch.cat([b.rows for b in batches]).tolist()) == list(range(len(feed)))
        assert sorted(read(batches)) == sorted(texts())


def test_the_order_follows_from_the_generator():
    feed = TextFeed.of(tokens(), 64, CPU, packer=Padded())

    def orders(seed: int) -> list[list[int]]:
        one, two = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        return [
            torch.cat([b.rows for b in feed.shuffled(4, one)]).tolist(),
            torch.cat([b.rows for b in feed.by_tokens(128, two)]).tolist(),
        ]

    assert orders(0) == orders(0) and orders(0) != orders(1)
    assert orders(0)[0] != sorted(orders(0)[0])


def test_batches_by_tokens_keep_their_size_and_are_of_like_lengths():
    feed = TextFeed.of(tokens(), 64, CPU, packer=Padded(), multiple=1)
    batches = list(feed.by_tokens(128, torch.Generator().manual_seed(0)))
    sizes = [b.streams["input"].values.numel() for b in batches]
    assert max(sizes) <= 128
    padding = sum(int((b.streams["input"].layout.segments == 0).sum()) for b in batches)
    plain = sum(int((b.streams["input"].layout.segments == 0).sum()) for b in feed.ordered(4))
    assert padding < plain / 2
    full = TextFeed.of(tokens(), 64, CPU, packer=Padded(), full=True)
    assert {tuple(b.streams["input"].values.shape) for b in full.by_tokens(128)} == {(2, 64)}
    with pytest.raises(DataError, match="holds no row of 64"):
        feed.cut_by_tokens(63)


def test_widths_follow_the_longest_row():
    feed = TextFeed.of(tokens(), 64, CPU, packer=Padded(), multiple=8)
    for batch in feed.ordered(5):
        width = batch.streams["input"].values.shape[1]
        longest = int(feed.plan.filled[batch.rows.numpy()].max())
        assert width == min(-(-longest // 8) * 8, 64)


def test_the_layout_is_whole():
    feed = TextFeed.of(tokens(words=True), 64, CPU, packer=Packed(), frame=FRAME)
    batch = feed.batch(torch.tensor([3, 0]))
    stream = batch.streams["input"]
    layout = stream.layout
    assert layout.words is not None and layout.fixed is not None
    assert stream.values.dtype == layout.positions.dtype == torch.int64
    assert layout.fixed.dtype == torch.bool
    assert ((stream.values == 2) == ((layout.positions == 0) & (layout.segments > 0))).all()
    assert (layout.words[layout.fixed | (layout.segments == 0)] == -1).all()
    assert (layout.words[~layout.fixed & (layout.segments > 0)] >= 0).all()


def test_sequences_longer_than_the_model():
    with pytest.raises(DataError, match="longer than the 14 tokens that fit"):
        TextFeed.of(tokens(), 16, CPU, packer=Padded(longer="refuse"), frame=FRAME)
    feed = TextFeed.of(tokens(), 16, CPU, frame=FRAME)
    assert [t[:14] for t in texts()] == read(list(feed.ordered(8)))
    assert feed.plan.note().endswith("tokens of documents longer than a row are left out")


def test_labels_need_a_row_for_each_document():
    with pytest.raises(DataError, match="Labels need one row for each of 50 documents"):
        TextFeed.of(tokens(), 64, CPU, packer=Concatenated(), fields={"label": torch.zeros(50)})
    with pytest.raises(DataError, match="give no row of tokens"):
        TextFeed.of(tokens().take(np.zeros(0, int)), 64, CPU)
