"""Networks of tokens through building and weighing: on meta first, then real."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.contracts.layouts import plain
from vitruvius.contracts import Stream
from vitruvius.space import Infeasible
from vitruvius.techniques.layers import Attention, Block, Decoder, Encoder, LearnedPositions, Tokens
from vitruvius.train.loop import group_parameters
from vitruvius.train.meter import FlopMeter
from vitruvius.train.text_bodies import TextBody, fill, outline_text

DESIGN = Encoder(
    Tokens(32, 100, inner=16), (Block(Attention(4, window=8)), Block()), LearnedPositions(64)
)


def on_meta(design: Encoder | Decoder, rows: int = 2, tokens: int = 64) -> tuple[TextBody, Stream]:
    return outline_text(design, rows, tokens)


def real(body: TextBody, seed: int) -> TextBody:
    return fill(copy.deepcopy(body), seed)


def test_costs_are_known_before_a_byte_is_allocated() -> None:
    body, stream = on_meta(DESIGN)
    cost = FlopMeter().weigh(body, stream)
    assert cost.parameters == sum(p.numel() for p in real(body, 0).parameters())
    tokens, width = 2 * 64, 32
    project, maps, feed = 16 * width, 4 * width**2, 8 * width**2
    scores = (3 * 8 + 64) * width  # of the windowed block and of the full one, per token
    by_hand = 2 * tokens * (project + 2 * (maps + feed)) + 4 * tokens * scores
    assert cost.flops == by_hand


def test_a_window_saves_work_with_length() -> None:
    wide, narrow = Block(Attention()), Block(Attention(window=16))
    costs = {
        (name, tokens): FlopMeter().weigh(
            *on_meta(Encoder(Tokens(32, 100), (block,)), tokens=tokens)
        )
        for name, block in (("full", wide), ("window", narrow))
        for tokens in (256, 512)
    }
    assert costs["window", 512].flops == 2 * costs["window", 256].flops
    assert costs["full", 512].flops > 2.5 * costs["full", 256].flops


def test_the_same_seed_builds_the_same_network() -> None:
    outline, _ = on_meta(DESIGN)
    one, two, other = (real(outline, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["network.stem.table.weight"], other["network.stem.table.weight"])


def test_taps_of_a_body() -> None:
    body = real(on_meta(DESIGN)[0], 0).eval()
    ids = torch.randint(100, (2, 10))
    stream = Stream(ids, plain(ids))
    outputs = body(stream, frozenset({"layer.1", "stem"}))
    assert set(outputs.taps) == {"layer.1", "stem"}
    assert torch.equal(outputs.hidden, body(stream).hidden)
    assert torch.equal(body.network.norm(outputs.taps["layer.1"]), outputs.hidden)
    with pytest.raises(ValueError, match=r"no tap 'layer\.9'"):
        body(stream, frozenset({"layer.9"}))


def test_tables_of_tokens_and_positions_are_embeddings() -> None:
    body = real(on_meta(DESIGN)[0], 0)
    kinds = {name: group.kind for group in group_parameters(body) for name in group.names}
    assert kinds["network.stem.table.weight"] == "embedding"
    assert kinds["network.stem.positions.weight"] == "embedding"
    assert kinds["network.blocks.0.mixer.query.weight"] == "matrix"
    assert kinds["network.blocks.0.mixer_norm.weight"] == "norm"


def test_training_drops_and_evaluation_does_not() -> None:
    block = Block(Attention(dropout=0.3), dropout=0.3)
    body = real(on_meta(Encoder(Tokens(32, 100, dropout=0.3), (block,)))[0], 0)
    ids = torch.randint(100, (2, 10))
    stream = Stream(ids, plain(ids))
    assert not torch.equal(body(stream).hidden, body(stream).hidden)
    body.eval()
    assert torch.equal(body(stream).hidden, body(stream).hidden)


@pytest.mark.parametrize(
    ("design", "address", "word"),
    [
        (Encoder(Tokens(30, 100), (Block(), Block(Attention(4)))), "body.blocks.block", "4 heads"),
        (
            DESIGN.replace(positions=LearnedPositions(8)),
            "body.stem",
            "longest is 8; got rows of 64",
        ),
        (Encoder(), "body.stem", r"Tokens\.vocabulary must be known"),
    ],
)
def test_what_does_not_fit_is_infeasible_at_its_place(
    design: Encoder, address: str, word: str
) -> None:
    with pytest.raises(Infeasible, match=word) as caught:
        outline_text(design, 2, 64, "body")
    assert caught.value.address == address


def test_filling_leaves_the_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    real(on_meta(DESIGN)[0], 3)
    assert torch.equal(torch.get_rng_state(), before)
