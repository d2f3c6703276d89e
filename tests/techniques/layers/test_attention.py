"""Attention: what each token may see, in whatever form it is computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.contracts.layouts import layout_of, plain
from vitruvius.contracts import Layout
from vitruvius.techniques.layers import (
    ALiBi,
    Attention,
    Block,
    Decoder,
    Encoder,
    LearnedPositions,
    RMSNorm,
    Rotary,
    Tokens,
    Unplaced,
    attending,
)
from vitruvius.techniques.layers.attending import attend
from vitruvius.techniques.layers.positions import Positions
from vitruvius.techniques.layers.transformer import Transformer, narrowed

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
ALL_POSITIONS = [LearnedPositions(64), Rotary(), ALiBi(), Unplaced()]


def network(design: Transformer, tokens: int = 16, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    made = design.sized(50).build(torch.zeros(2, tokens, dtype=torch.long))
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.2)
    return made.eval()


def small(cls: type[Transformer], *blocks: Block, positions: Positions | None) -> Transformer:
    made: Any = cls
    return made(Tokens(16), blocks or (Block(), Block(order="post")), positions)


def by_hand(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    """Dense attention under a mask [B 1 T S], heads of keys repeated."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias
    return scores.masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num() @ v


@given(
    seed=st.integers(0, 1000),
    lengths=st.lists(st.lists(st.integers(1, 15), min_size=1, max_size=3), min_size=1, max_size=3),
    window=st.one_of(st.none(), st.integers(1, 6)),
    causal=st.booleans(),
    sloped=st.booleans(),
    padding=st.integers(0, 5),
)
def test_equals_dense_attention_under_the_mask(
    seed: int,
    lengths: list[list[int]],
    window: int | None,
    causal: bool,
    sloped: bool,
    padding: int,
) -> None:
    layout = layout_of(lengths, max(map(sum, lengths)) + padding)
    rows, tokens = layout.segments.shape
    torch.manual_seed(seed)
    q, k, v = (torch.randn(rows, heads, tokens, 8) for heads in (4, 2, 2))
    slopes = ALiBi().slopes(4) if sloped else ()
    distance = layout.positions[:, None, :, None] - layout.positions[:, None, None, :]
    seen = layout.segments[:, None, :, None] == layout.segments[:, None, None, :]
    if causal:
        seen = seen & (distance >= 0)
    if window is not None:
        seen = seen & (distance.abs() <= window)
    bias = -torch.tensor(slopes)[:, None, None] * distance.abs() if slopes else 0.0
    found = attend(q, k, v, layout, causal, window, slopes)
    assert found.isfinite().all()
    real = (layout.segments > 0)[:, None, :, None]  # what padding gives is never read
    torch.testing.assert_close(found * real, by_hand(q, k, v, seen, bias) * real, **CLOSE)


@pytest.mark.parametrize("causal", [False, True])
def test_a_window_takes_linear_memory(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = nn.functional.scaled_dot_product_attention

    def counted(query: Tensor, key: Tensor, *rest: Any, **named: Any) -> Tensor:
        sizes.append(query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2])
        return real(query, key, *rest, **named)

    monkeypatch.setattr(attending.functional, "scaled_dot_product_attention", counted)
    for tokens in (64, 128, 256):
        q = torch.randn(1, 2, tokens, 4)
        attend(q, q, q, layout_of([[tokens]]), causal=causal, window=8)
    assert sizes == [2 * tokens * 8 * (2 if causal else 3) for tokens in (64, 128, 256)]


def test_a_window_of_all_tokens_is_full_attention() -> None:
    q = torch.randn(2, 2, 12, 4)
    layout = layout_of([[12], [9]], 12)
    torch.testing.assert_close(attend(q, q, q, layout, window=11), attend(q, q, q, layout))


def test_gradients_of_padded_bands_are_finite() -> None:
    q = torch.randn(2, 2, 29, 4, requires_grad=True)
    attend(q, q, q, layout_of([[20], [5, 6]], 29), window=3).sum().backward()
    assert q.grad is not None and q.grad.isfinite().all()


@pytest.mark.parametrize("cls", [Encoder, Decoder])
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("positions", ALL_POSITIONS, ids=lambda p: type(p).__name__)
def test_packed_equals_separate(
    cls: type[Transformer], positions: Positions, window: int | None
) -> None:
    blocks = (Block(Attention(window=window)), Block(Attention(sharing=2), order="post"))
    model = network(small(cls, *blocks, positions=positions))
    lengths = (5, 1, 7)
    ids = torch.randint(50, (1, 13))
    packed = model(nn.functional.pad(ids, (0, 3)), layout_of([lengths], 16))
    for document, found in zip(
        ids.split(lengths, 1), packed[:, :13].split(lengths, 1), strict=True
    ):
        alone = model(document, plain(document))
        torch.testing.assert_close(found, alone, **CLOSE)


def test_positions_that_do_not_restart_change_the_result() -> None:
    model = network(small(Encoder, positions=LearnedPositions(64)))
    ids, layout = torch.randint(50, (1, 12)), layout_of([[6, 6]])
    running = replace(layout, positions=torch.arange(12)[None])
    difference = (model(ids, layout) - model(ids, running)).abs()
    assert difference[:, :6].max() < 1e-6 and difference[:, 6:].max() > 1e-3


def test_padding_on_any_side_changes_nothing() -> None:
    model = network(small(Encoder, positions=ALiBi()))
    ids = torch.randint(50, (1, 6))
    alone = model(ids, plain(ids))
    for before, after in ((3, 0), (0, 3), (2, 5)):
        layout = plain(ids)
        places = (layout.positions, layout.segments)
        moved = Layout(*(nn.functional.pad(x, (before, after)) for x in places))
        found = model(nn.functional.pad(ids, (before, after), value=7), moved)
        torch.testing.assert_close(found[:, before : before + 6], alone, **CLOSE)


@pytest.mark.parametrize("positions", ALL_POSITIONS, ids=lambda p: type(p).__name__)
def test_a_decoder_never_sees_the_future(positions: Positions) -> None:
    model = network(small(Decoder, positions=positions))
    ids = torch.randint(50, (2, 12))
    changed = ids.clone()
    changed[:, 7:] = (ids[:, 7:] + 1) % 50
    one, two = model(ids, plain(ids)), model(changed, plain(ids))
    torch.testing.assert_close(one[:, :7], two[:, :7], **CLOSE)
    assert ((one[:, 7:] - two[:, 7:]).abs().amax(-1) > 1e-4).all()


def test_a_window_reaches_as_far_as_blocks_times_window() -> None:
    blocks = (Block(Attention(window=2)), Block(Attention(window=3)))
    model = network(small(Encoder, *blocks, positions=Rotary()), 30)
    ids = torch.randint(50, (1, 30))
    changed = ids.clone()
    changed[:, 15] = (ids[:, 15] + 1) % 50
    moved = (model(ids, plain(ids)) - model(changed, plain(ids))).abs().amax(-1)[0] > 1e-6
    assert moved.nonzero().flatten().tolist() == list(range(10, 21))


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("positions", ALL_POSITIONS, ids=lambda p: type(p).__name__)
def test_kept_keys_and_values_give_the_same(positions: Positions, window: int | None) -> None:
    blocks = (Block(Attention(sharing=2, window=window)), Block())
    model = network(small(Decoder, *blocks, positions=positions), 20)
    ids = torch.randint(50, (2, 20))
    layout = plain(ids)
    whole = model(ids, layout)
    cache: dict[str, Tensor] = {}
    found = []
    for part in (slice(0, 9), slice(9, 10), slice(10, 16), slice(16, 20)):
        here = Layout(layout.positions[:, part], layout.segments[:, part], cache=cache)
        found.append(model(ids[:, part], here))
    torch.testing.assert_close(torch.cat(found, 1), whole, **CLOSE)


class Prefix(nn.Module):
    """Keys and values that an adapter puts before those of the row."""

    def __init__(self, heads: int, length: int, width: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(1, heads, length, width))
        self.values = nn.Parameter(torch.randn(1, heads, length, width))

    def forward(self, layout: Any) -> tuple[Tensor, Tensor]:
        return self.keys, self.values


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("sloped", [False, True])
def test_a_prefix_is_gated_attention(window: int | None, sloped: bool) -> None:
    """Card 41: attention with more keys = (1 - gate) own + gate prefix."""
    torch.manual_seed(0)
    layout = layout_of([[5, 4], [9]])
    slopes = ALiBi().slopes(2) if sloped else ()
    q, k, v = torch.randn(3, 2, 2, 9, 8, dtype=torch.float64)
    keys, values = torch.randn(2, 2, 2, 3, 8, dtype=torch.float64)
    both = attend(
        q,
        torch.cat((keys, k), 2),
        torch.cat((values, v), 2),
        layout,
        window=window,
        slopes=slopes,
        prefix=3,
    )
    distance = (layout.positions[:, None, :, None] - layout.positions[:, None, None, :]).abs()
    seen = layout.segments[:, None, :, None] == layout.segments[:, None, None, :]
    seen = seen if window is None else seen & (distance <= window)
    bias = -torch.tensor(slopes, dtype=torch.float64)[:, None, None] * distance if slopes else 0.0
    own = (q @ k.transpose(-1, -2) / 8**0.5 + bias).masked_fill(~seen, -torch.inf)
    prefix = q @ keys.transpose(-1, -2) / 8**0.5
    weight = prefix.exp().sum(-1) / (prefix.exp().sum(-1) + own.exp().sum(-1))
    gated = (1 - weight)[..., None] * (own.softmax(-1) @ v)
    gated = gated + weight[..., None] * (prefix.softmax(-1) @ values)
    torch.testing.assert_close(both, gated)


def test_a_prefix_stands_in_front_of_every_row() -> None:
    module = Attention(4, sharing=2, positions=Rotary()).build(torch.zeros(1, 1, 16))
    x, layout = torch.randn(3, 6, 16), layout_of([[6], [4], [2, 4]], 6)
    before = module(x, layout)
    module.prefix = Prefix(2, 3, 4)
    assert (module(x, layout) - before).abs().amax((1, 2)).min() > 1e-4
    module.prefix = None
    assert torch.equal(module(x, layout), before)


def test_scores_of_rotary_see_distances_alone() -> None:
    turning = Rotary().build(8)
    q, k = torch.randn(2, 1, 1, 10, 8)
    near = layout_of([[10]])
    far = replace(near, positions=near.positions + 1000)
    one, two = (turning(q, at) @ turning(k, at).transpose(-1, -2) for at in (near, far))
    torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)
    assert torch.equal(Rotary(share=0.5).build(8)(q, near)[..., 4:], q[..., 4:])


def test_slopes_by_hand() -> None:
    assert ALiBi().slopes(4) == (2**-2, 2**-4, 2**-6, 2**-8)
    assert ALiBi().slopes(3) == (2**-4, 2**-8, 2**-2)


def test_masks_are_made_once_per_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = attending._allowed
    monkeypatch.setattr(attending, "_allowed", lambda *a: calls.append(0) or real(*a))
    model = network(small(Encoder, *[Block()] * 5, positions=Rotary()))
    ids = torch.randint(50, (2, 16))
    model(ids, plain(ids))
    assert len(calls) == 1


def test_taps_are_what_blocks_give() -> None:
    model = network(small(Encoder, positions=Rotary()))
    ids = torch.randint(50, (2, 8))
    taps: dict = dict.fromkeys(("stem", "layer.0", "layer.1"))
    hidden = model(ids, plain(ids), taps)
    assert torch.equal(model.blocks[1](taps["layer.0"], plain(ids)), taps["layer.1"])
    assert model.norm is None and torch.equal(taps["layer.1"], hidden)
    with pytest.raises(ValueError, match=r"no tap 'layer\.2'; there is 'stem' and 'layer\.0' to"):
        model(ids, plain(ids), {"layer.2": None})


def test_a_narrowed_network_keeps_the_width_of_its_heads() -> None:
    design = Encoder(Tokens(64, inner=32), (Block(Attention(8, sharing=4)),) * 4)
    slim = narrowed(design, 0.25, depth=0.5)
    assert slim.stem == Tokens(16, inner=32)
    assert slim.blocks == (Block(Attention(2, sharing=2)),) * 2
    assert network(slim)(torch.zeros(1, 3, dtype=torch.long), layout_of([[3]])).shape == (1, 3, 16)


def test_what_the_network_says_is_not_forced_on_those_that_say_it_themselves() -> None:
    own = Block(Attention(positions=Unplaced()))
    design = Decoder(blocks=(own, Block()), positions=ALiBi())
    first, second = (block.mixer for block in design.settled() if isinstance(block, Block))
    assert first == Attention(positions=Unplaced(), causal=True)
    assert second == Attention(positions=ALiBi(), causal=True)
    assert design.reach().causal and not Encoder(blocks=(own,)).reach().causal
    assert Encoder(positions=LearnedPositions(64)).reach().longest == 64


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Attention(4, sharing=3), "sharing must divide its 4 heads; got 3"),
        (lambda: Attention(0), r"Attention\.heads must be at least 1; got 0"),
        (lambda: Attention(dropout=1.0), r"Attention\.dropout .* got 1"),
        (lambda: Attention(positions=LearnedPositions()), "learned positions are added"),
        (lambda: Tokens(positions=Rotary()), "Others belong to attention"),
        (lambda: Rotary(share=0.0), r"Rotary\.share .* got 0"),
        (lambda: Block(mixer=Tokens()), r"Block\.mixer takes a mixer"),  # type: ignore[arg-type]
        (lambda: Block(Attention(), Attention()), r"Block\.feed_forward and"),
        (lambda: Block(order="both"), r"Block\.order is one of"),
        (lambda: Encoder(blocks=(RMSNorm(),)), r"Encoder\.blocks takes mixers"),  # type: ignore[arg-type]
        (lambda: RMSNorm(0), r"RMSNorm\.epsilon must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        make()


@pytest.mark.parametrize(
    ("design", "word"),
    [
        (Encoder(Tokens(10, 50), (Block(Attention(4)),)), "heads must divide the width; got 4"),
        (Encoder(Tokens(16)), r"stem: Tokens\.vocabulary must be known"),
        (Encoder(Tokens(12, 50), (Block(),)), "Rotary turns pairs of numbers; got 3"),
        (Encoder(Tokens(16, 50), positions=LearnedPositions(8)), "longest is 8; got rows of 16"),
    ],
)
def test_what_cannot_be_built_says_where(design: Transformer, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        design.build(torch.zeros(2, 16, dtype=torch.long))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [[[7], [7]], [[7], [4]], [[3, 4], [2, 2]]])
def test_what_a_layout_knows_changes_no_token(lengths: list[list[int]], causal: bool) -> None:
    layout = layout_of(lengths, 7)
    known = replace(
        layout,
        packed=any(len(row) > 1 for row in lengths),
        padded=any(sum(row) < 7 for row in lengths),
    )
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, 7, 4) for _ in range(3))
    real = (layout.segments > 0)[:, None, :, None]
    found, expected = (attend(q, k, v, x, causal=causal) * real for x in (known, layout))
    torch.testing.assert_close(found, expected, **CLOSE)


def test_without_packing_no_mask_of_all_pairs_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    real = nn.functional.scaled_dot_product_attention

    def noted(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, **named: Any) -> Tensor:
        shapes.append(None if mask is None else tuple(mask.shape))
        return real(q, k, v, mask, **named)

    monkeypatch.setattr(attending.functional, "scaled_dot_product_attention", noted)
    q = torch.randn(2, 2, 9, 4)
    attend(q, q, q, replace(layout_of([[9], [5]], 9), packed=False))
    attend(q, q, q, replace(layout_of([[9], [9]], 9), packed=False, padded=False))
    assert shapes == [(2, 1, 1, 9), None]


def test_a_row_of_padding_alone_stays_finite() -> None:
    layout = layout_of([[4], []], 4)
    q = torch.randn(2, 2, 4, 8)
    found = attend(q, q, q, replace(layout, packed=False), dropout=0.5)
    assert found.isfinite().all()


@pytest.mark.parametrize("tokens", [32, 37])
@pytest.mark.parametrize("kind", ["packed", "padded", "full", "causal", "sloped"])
def test_attention_in_parts_equals_that_of_torch(kind: str, tokens: int) -> None:
    lengths = {"packed": [[9, 8], [tokens]], "padded": [[tokens], [6]]}
    layout = layout_of(lengths.get(kind, [[tokens], [tokens]]), tokens)
    if kind != "packed":
        layout = replace(layout, packed=False, padded=kind == "padded")
    slopes = ALiBi().slopes(2) if kind == "sloped" else ()
    torch.manual_seed(0)
    values = [torch.randn(2, 2, tokens, 8).bfloat16() for _ in range(3)]
    given = [x.requires_grad_() for x in values]
    found = attend(*given, layout, kind == "causal", slopes=slopes)  # bfloat16, with gradients
    grads = torch.autograd.grad(found.sum(), given)
    exact = [x.detach().float().requires_grad_() for x in values]
    expected = attend(*exact, layout, kind == "causal", slopes=slopes)
    real = (layout.segments > 0)[:, None, :, None]
    torch.testing.assert_close(found.float() * real, expected * real, atol=0.03, rtol=0.03)
    wanted = torch.autograd.grad(expected.sum(), exact)
    for ours, theirs in zip(grads, wanted, strict=True):
        torch.testing.assert_close(ours.float(), theirs, atol=0.1, rtol=0.1)


def test_dropout_of_attention_keeps_the_mean_and_hides_nothing_new() -> None:
    layout = layout_of([[3, 5]], 8)
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 8, 4) for _ in range(3))
    draws = torch.stack([attend(q, k, v, layout, dropout=0.3) for _ in range(4000)])
    expected = attend(q, k, v, layout)
    torch.testing.assert_close(draws.mean(0), expected, atol=0.1, rtol=0.0)
    moved = v.clone()
    moved[:, :, 3:] = 100.0  # another document
    torch.manual_seed(1)
    first = attend(q, k, v, layout, dropout=0.3)
    torch.manual_seed(1)
    assert torch.equal(first[:, :, :3], attend(q, k, moved, layout, dropout=0.3)[:, :, :3])


@pytest.mark.parametrize("sharing", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_one_product_for_queries_keys_and_values_equals_three(sharing: int, bias: bool) -> None:
    x = torch.randn(2, 5, 16)
    torch.manual_seed(0)
    module: Any = Attention(4, sharing, bias=bias).build(x)
    together = module.train().mapped(x)
    apart = module.eval().mapped(x)
    for ours, theirs in zip(together, apart, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_map_that_is_watched_is_called() -> None:
    x, seen = torch.randn(2, 5, 16), []
    module: Any = Attention(4).build(x)
    module.key.register_forward_hook(lambda *_: seen.append("key"))
    module.train().mapped(x)
    module.query = nn.Sequential(module.query, nn.Identity())  # replaced, as an adapter does
    module.mapped(x)
    assert seen == ["key", "key"]


def test_an_encoder_without_blocks_is_a_bag_of_words() -> None:
    design = Encoder(Tokens(8, 20, norm=None), (), norm=None)
    network = design.build(torch.zeros(1, 3, dtype=torch.long))
    ids = torch.tensor([[3, 5, 7], [7, 3, 5]])
    hidden = network(ids, layout_of([(3,), (3,)]))
    assert torch.equal(hidden[0], network.stem.table.weight[ids[0]])
    assert torch.allclose(hidden[0].mean(0), hidden[1].mean(0))
