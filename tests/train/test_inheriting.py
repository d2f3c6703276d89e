"""A child begins where its parent ended: exactly, or with a reason why not."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitruvius.contracts import Head, Layer, Stream, Task
from vitruvius.space import Repeat, one_of, optional, replay, sample
from vitruvius.techniques.heads import Answer, PooledReadout, Readout
from vitruvius.techniques.layers import (
    GELU,
    Affine,
    ALiBi,
    Attention,
    AveragePool,
    BatchNorm,
    Block,
    Branches,
    Conv,
    Dense,
    Dropout,
    Encoder,
    FeedForward,
    Flatten,
    GlobalAveragePool,
    Graph,
    GroupNorm,
    LayerNorm,
    MaxPool,
    Patches,
    ReLU,
    Residual,
    RMSNorm,
    SeparableConv,
    SequenceConv,
    Sequential,
    SiLU,
    SqueezeExcite,
    Wire,
)
from vitruvius.train.aligning import Network
from vitruvius.train.building import Answering, network_of, outline, realise
from vitruvius.train.inheriting import Inheritance, inherit
from vitruvius.train.meter import FlopMeter

IMAGES, ROWS, SEQUENCES = (2, 8, 8), (12,), (6, 5)
CPU = torch.device("cpu")
TASK = Task("ten", "item", tuple(map(str, range(10))))


def network(layer: Layer, shape: tuple[int, ...], head: Head) -> Network:
    return Network(layer, head, outline(layer, head, shape, TASK, FlopMeter()))


def real(made: Network, seed: int) -> Answering:
    """Weights as a training leaves them: running statistics moved, no number at its start."""
    found = network_of(realise(made.outline, CPU, seed)).double()
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator).double()
        found.train()
        for _ in range(3):
            found(Stream(inputs(made.outline.shape, generator)))
    return found.eval()


def inputs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn((7, *shape), generator=generator).double()


def passed_on(
    parent: Layer,
    child: Layer,
    shape: tuple[int, ...] = IMAGES,
    heads: tuple[Head, Head] = (Readout(), Readout()),
) -> tuple[Inheritance, float, Answering, Answering]:
    """What is inherited, and how far the answers of the two are apart."""
    ours, theirs = network(parent, shape, heads[0]), network(child, shape, heads[1])
    found = inherit(theirs, ours)
    old, new = real(ours, 1), real(theirs, 2)
    found.fill(new, old.state_dict(), torch.Generator().manual_seed(3))
    x = inputs(shape, torch.Generator().manual_seed(4))
    with torch.no_grad():
        apart = float((old(Stream(x)) - new(Stream(x))).abs().max())
    return found, apart, old, new


def conv(filters: int, kernel: int = 3) -> Sequential:
    return Sequential(Conv(filters, kernel), BatchNorm(), ReLU())


DIGITS = Sequential(conv(4), MaxPool(2), conv(6), Residual(Sequential(ReLU(), Conv(6))), Flatten())
ENCODER = Encoder(
    Patches(8, 4),
    (Block(Attention(2, head_width=4), FeedForward(2.0)),) * 2,
    positions=None,
)


def encoder(*blocks: Block) -> Encoder:
    return ENCODER.replace(blocks=blocks)


def of(heads: int = 2, ratio: float = 2.0, **fields: object) -> Block:
    attention = Attention(heads, head_width=fields.pop("head_width", 4), **fields)  # type: ignore[arg-type]
    return Block(attention, FeedForward(ratio))


EQUAL = {
    "convolutions": (DIGITS, IMAGES),
    "rows": (Sequential(Affine(8), LayerNorm(), ReLU(), Residual(Affine(8))), ROWS),
    "sequences": (Sequential(SequenceConv(4), GroupNorm(2), GlobalAveragePool()), SEQUENCES),
    "encoder": (ENCODER, IMAGES),
    "branches": (
        Sequential(Branches(Conv(3), Conv(2, 1), combine="concat"), Dense(Conv(2))),
        IMAGES,
    ),
    "graph": (Graph(nodes=(Wire("a", Conv(3), ("x",)),), output="a"), IMAGES),
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_designs_are_copied_bit_for_bit(name: str) -> None:
    design, shape = EQUAL[name]
    found, apart, old, new = passed_on(design, design.replace(label="other"), shape)
    assert (found.exact, found.overlap, found.refused, apart) == (True, 1.0, (), 0.0)
    assert {taken.how for taken in found.taken} == {"copied"}
    theirs = new.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in old.state_dict().items())


WIDE = Sequential(
    Conv(4), BatchNorm(), ReLU(), SqueezeExcite(0.5), MaxPool(2), SeparableConv(3), SiLU(),
    Flatten(), Affine(5), GELU(),
)  # fmt: skip
EXACT: dict[str, tuple[Layer, Layer, tuple[int, ...], float | None]] = {
    "a wider convolution and what reads it": (
        WIDE,
        WIDE.replace(layers=(Conv(7), *WIDE.layers[1:])),
        IMAGES,
        1.0,
    ),
    "all wider, through BatchNorm, gates and Flatten": (
        WIDE,
        Sequential(
            Conv(9), BatchNorm(), ReLU(), SqueezeExcite(0.5), MaxPool(2), SeparableConv(8), SiLU(),
            Flatten(), Affine(11), GELU(),
        ),
        IMAGES,
        1.0,
    ),
    "twice as wide through LayerNorm and RMSNorm": (
        Sequential(Affine(4), LayerNorm(), ReLU(), Affine(3), RMSNorm(), Affine(3)),
        Sequential(Affine(8), LayerNorm(), ReLU(), Affine(6), RMSNorm(), Affine(5)),
        ROWS,
        1.0,
    ),
    "twice as wide through LayerNorm on images": (
        Sequential(Conv(4), LayerNorm(), Conv(3)),
        Sequential(Conv(12), LayerNorm(), Conv(4)),
        IMAGES,
        1.0,
    ),
    "a larger kernel": (
        Sequential(Conv(3, 3), ReLU()), Sequential(Conv(5, 7), ReLU()), IMAGES, None,
    ),
    "a larger kernel with stride and dilation": (
        Sequential(Conv(3, 3, stride=2, dilation=2), ReLU()),
        Sequential(Conv(3, 5, stride=2, dilation=2), ReLU()),
        IMAGES,
        None,
    ),
    "a bias": (Conv(3, bias=False), Conv(3), IMAGES, None),
    "sequences, flattened step by step": (
        Sequential(SequenceConv(3, padding="causal"), ReLU(), Flatten(), Affine(4)),
        Sequential(SequenceConv(5, padding="causal"), ReLU(), Flatten(), Affine(6)),
        SEQUENCES,
        1.0,
    ),
    "a whole stream of residuals wider": (
        Sequential(Conv(4), Residual(Sequential(BatchNorm(), ReLU(), Conv(4))), Residual(Conv(4))),
        Sequential(Conv(6), Residual(Sequential(BatchNorm(), ReLU(), Conv(6))), Residual(Conv(6))),
        IMAGES,
        1.0,
    ),
    "wider inside a residual": (
        Sequential(Conv(4), Residual(Sequential(Conv(3), ReLU(), Conv(4)))),
        Sequential(Conv(4), Residual(Sequential(Conv(8), ReLU(), Conv(4)))),
        IMAGES,
        1.0,
    ),
    "a projected shortcut": (
        Sequential(Conv(4), Residual(Sequential(Conv(3, stride=2), ReLU(), Conv(5)), "project")),
        Sequential(Conv(6), Residual(Sequential(Conv(4, stride=2), ReLU(), Conv(8)), "project")),
        IMAGES,
        1.0,
    ),
    "wider inside padded shortcuts": (
        Sequential(Conv(4), Residual(Sequential(Conv(3), Conv(6))), Residual(Conv(2))),
        Sequential(Conv(4), Residual(Sequential(Conv(5), Conv(6))), Residual(Conv(2))),
        IMAGES,
        1.0,
    ),
    "branches": (
        Branches(Conv(3), Conv(2), combine="concat"),
        Branches(Conv(3), Conv(5), combine="concat"),
        IMAGES,
        1.0,
    ),
    "branches that are added": (
        Sequential(Branches(Conv(3), Sequential(Conv(2), Conv(3)), combine="mean"), ReLU()),
        Sequential(Branches(Conv(6), Sequential(Conv(4), Conv(6)), combine="mean"), ReLU()),
        IMAGES,
        1.0,
    ),
    "a dense block": (Dense(Conv(3), Conv(2)), Dense(Conv(4), Conv(5)), IMAGES, 1.0),
    "an added Affine and ReLU": (
        Sequential(Affine(6), ReLU(), Affine(4)),
        Sequential(Affine(6), ReLU(), Dropout(0.3), Affine(6), ReLU(), Affine(4)),
        ROWS,
        None,
    ),
    "an added convolution": (
        Sequential(Conv(3), ReLU(), Flatten()),
        Sequential(Conv(3), ReLU(), Conv(3, 4), ReLU(), Conv(3, 5, dilation=2), ReLU(), Flatten()),
        IMAGES,
        None,
    ),
    "added and wider": (
        Sequential(Affine(6), ReLU(), Affine(4)),
        Sequential(Affine(9), ReLU(), Affine(9), ReLU(), Affine(4)),
        ROWS,
        None,
    ),
    "added residuals": (
        Sequential(Conv(4), ReLU(), GlobalAveragePool()),
        Sequential(
            Conv(6),
            ReLU(),
            Residual(Sequential(Conv(5), ReLU(), BatchNorm(), Dropout(0.1))),
            Residual(Sequential(SeparableConv(3), SiLU())),
            GlobalAveragePool(),
            Residual(Sequential(Affine(9), ReLU(), Affine(6), GELU())),
            Residual(FeedForward(2.0)),
        ),
        IMAGES,
        None,
    ),
    "a layer left out that did nothing": (
        Sequential(Conv(4), ReLU(), Dropout(0.1), ReLU(), Flatten()),
        Sequential(Conv(4), ReLU(), Flatten()),
        IMAGES,
        1.0,
    ),
    "more heads": (ENCODER, encoder(of(4), of(6)), IMAGES, 1.0),
    "more heads that share keys": (
        encoder(of(4, sharing=2), of(2, sharing=2)),
        encoder(of(6, sharing=2), of(2, sharing=1)),
        IMAGES,
        1.0,
    ),
    "a larger feed-forward part": (ENCODER, encoder(of(2, 4.0), of(2, 3.0)), IMAGES, 1.0),
    "a larger gated feed-forward part": (
        encoder(Block(feed_forward=FeedForward(2.0, SiLU(), gated=True))),
        encoder(Block(feed_forward=FeedForward(3.0, SiLU(), gated=True))),
        IMAGES,
        1.0,
    ),
    "more blocks": (ENCODER, encoder(of(), of(), of(4), of()), IMAGES, None),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_each_morphism_keeps_the_function(name: str) -> None:
    parent, child, shape, overlap = EXACT[name]
    found, apart, *_ = passed_on(parent, child, shape)
    assert found.exact and not found.refused
    assert apart < 1e-10
    assert overlap is None or found.overlap == overlap
    assert found.inherited > 0


def test_copies_of_a_channel_part_ways_in_training() -> None:
    parent = Sequential(Affine(4), ReLU(), Affine(3))
    _, _, _, new = passed_on(parent, parent.replace(layers=(Affine(8), *parent.layers[1:])), ROWS)
    first, second = (new.body.get_parameter(f"network.{i}.weight") for i in (0, 2))
    assert torch.equal(first[:4], first[4:])
    assert not torch.allclose(second[:, :4], second[:, 4:])
    x = inputs(ROWS, torch.Generator().manual_seed(5))
    optimizer = torch.optim.Adam(new.parameters(), 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        new(Stream(x)).square().sum().backward()
        optimizer.step()
    assert (first[:4] - first[4:]).abs().max() > 1e-3


def test_an_added_branch_learns() -> None:
    parent = Sequential(Conv(4), ReLU(), GlobalAveragePool())
    branch = Residual(Sequential(Conv(5), ReLU(), BatchNorm(), Dropout(0.1)))
    child = Sequential(*parent.layers[:2], branch, parent.layers[2])
    _, _, _, new = passed_on(parent, child)
    new.train()(Stream(inputs(IMAGES, torch.Generator().manual_seed(5)))).sum().backward()
    gradient = new.body.get_parameter("network.2.body.2.weight").grad
    assert gradient is not None and gradient.abs().sum() > 0


def test_overlap_counts_what_comes_from_the_parent() -> None:
    parent = Sequential(Affine(6), ReLU(), Affine(4))
    child = Sequential(Affine(6), ReLU(), Affine(6), ReLU(), Affine(4))
    found, *_ = passed_on(parent, child, ROWS)
    kept = 12 * 6 + 6 + 6 * 4 + 4 + 4 * 10 + 10
    assert (found.inherited, found.parameters) == (kept, kept + 6 * 6 + 6)
    assert found.overlap == kept / (kept + 42)
    assert [taken.place for taken in found.taken] == ["affine", "affine_3", "head"]
    assert str(found) == f"{kept} of {kept + 42} parameters inherited, the same function"
    larger, *_ = passed_on(Conv(3, 3), Conv(3, 5))
    assert larger.inherited == 3 * 2 * 9 + 3 + 3 * 10 + 10
    assert larger.parameters == 3 * 2 * 25 + 3 + 3 * 10 + 10


REFUSED: dict[str, tuple[Layer, Layer, tuple[int, ...], str]] = {
    "affine: Affine is narrower than its parent: 4 in place of 6": (
        Sequential(Affine(6), ReLU()), Sequential(Affine(4), ReLU()), ROWS, "",
    ),
    "conv: Conv has a smaller kernel: 1 in place of 3": (Conv(3, 3), Conv(3, 1), IMAGES, ""),
    "conv: Conv takes a larger kernel only with padding 'same', from odd to odd": (
        Conv(3, 2), Conv(3, 3), IMAGES, "",
    ),
    "conv: Conv has another stride than its parent": (Conv(3), Conv(3, stride=2), IMAGES, ""),
    "conv: Conv has no bias, and its parent has one": (Conv(3), Conv(3, bias=False), IMAGES, ""),
    "conv: Conv with groups is copied, and not made wider": (
        Conv(4, groups=2), Conv(8, groups=2), IMAGES, "",
    ),
    "layer_norm: LayerNorm keeps its mean only where each channel is copied equally often; "
    "6 are no multiple of 4": (
        Sequential(Affine(4), LayerNorm()), Sequential(Affine(6), LayerNorm()), ROWS, "",
    ),
    "group_norm: GroupNorm would see copies of channels in other groups": (
        Sequential(Conv(4), GroupNorm(2)), Sequential(Conv(8), GroupNorm(2)), IMAGES, "",
    ),
    "batch_norm: BatchNorm has another epsilon than its parent": (
        Sequential(Conv(4), BatchNorm()), Sequential(Conv(4), BatchNorm(epsilon=1e-3)), IMAGES, "",
    ),
    "max_pool: MaxPool has another kernel than its parent": (
        Sequential(Conv(4), MaxPool(2)), Sequential(Conv(4), MaxPool(3)), IMAGES, "",
    ),
    "squeeze_excite: SqueezeExcite has another ratio than its parent": (
        Sequential(Conv(4), SqueezeExcite(0.5)), Sequential(Conv(4), SqueezeExcite(1.0)),
        IMAGES, "",
    ),
    "batch_norm: an added BatchNorm is no identity": (
        Sequential(Conv(4), ReLU()), Sequential(Conv(4), BatchNorm(), ReLU()), IMAGES, "",
    ),
    "re_lu: an added ReLU is an identity only after numbers that are not negative": (
        Sequential(Affine(4)), Sequential(Affine(4), ReLU()), ROWS, "",
    ),
    "max_pool: an added MaxPool that turns (2, 8, 8) into (2, 4, 4) is no identity": (
        Sequential(Conv(4)), Sequential(MaxPool(2), Conv(4)), IMAGES, "",
    ),
    "conv_2: an added Conv of an even kernel with dilation is no identity": (
        Sequential(Conv(4), ReLU()), Sequential(Conv(4), ReLU(), Conv(4, 4, dilation=2)),
        IMAGES, "",
    ),
    "residual: an added Residual whose branch ends in ReLU would learn nothing from zeros": (
        Sequential(Conv(4)), Sequential(Conv(4), Residual(Sequential(Conv(4), ReLU()))), IMAGES, "",
    ),
    "residual: an added Residual whose branch does not end in a layer that can give zeros": (
        Sequential(Conv(4)),
        Sequential(Conv(4), Residual(Sequential(Conv(4), AveragePool(3, 1, "same")))), IMAGES, "",
    ),
    "re_lu: its parent has ReLU here, and it has not": (
        Sequential(Affine(4), ReLU()), Sequential(Affine(4)), ROWS, "",
    ),
    "residual: Residual has another shortcut than its parent": (
        Sequential(Conv(4), Residual(Conv(6), "zeros")),
        Sequential(Conv(4), Residual(Conv(6), "project")), IMAGES, "",
    ),
    "residual: Residual pads channels with zeros, which are no copies of others": (
        Sequential(Conv(4), Residual(Conv(6))), Sequential(Conv(4), Residual(Conv(8))), IMAGES, "",
    ),
    "residual: Residual would add channels that are copies of different ones": (
        Sequential(Branches(Conv(2), Conv(2), combine="concat"), Residual(Conv(4))),
        Sequential(Branches(Conv(2), Conv(4), combine="concat"), Residual(Conv(6))), IMAGES, "",
    ),
    "branches: Branches has 2 bodies in place of 1": (
        Branches(Conv(3)), Branches(Conv(3), Conv(3, 1)), IMAGES, "",
    ),
    "branches: Branches would add channels that are copies of different ones": (
        Branches(Conv(4), Branches(Conv(2), Conv(2), combine="concat")),
        Branches(Conv(6), Branches(Conv(2), Conv(4), combine="concat")), IMAGES, "",
    ),
    "graph: Graph has another nodes than its parent": (
        Graph(nodes=(Wire("a", Conv(3), ("x",)),), output="a"),
        Graph(nodes=(Wire("a", Conv(4), ("x",)),), output="a"), IMAGES, "",
    ),
    "graph: Graph is copied where nothing before it changes, and not made wider": (
        Sequential(Conv(2), Graph(nodes=(Wire("a", Conv(3), ("x",)),), output="a")),
        Sequential(Conv(4), Graph(nodes=(Wire("a", Conv(3), ("x",)),), output="a")), IMAGES, "",
    ),
    "affine_2: Affine reads 4 channels in place of 6, which are not copies of those": (
        Sequential(Affine(6), ReLU(), Affine(3)), Sequential(Affine(4), ReLU(), Affine(3)),
        ROWS, "",
    ),
    "affine: Affine reads (4, 4) places in place of (8, 8)": (
        Sequential(Conv(3), ReLU(), Affine(3)), Sequential(Conv(3, stride=2), ReLU(), Affine(3)),
        IMAGES, "",
    ),
    "blocks.block: Attention has heads of width 2 in place of 4; more heads of one width need "
    "Attention.head_width": (
        encoder(of(2, head_width=None)), encoder(of(4, head_width=None)), IMAGES, "",
    ),
    "blocks.block: ALiBi gives each number of heads other slopes": (
        encoder(of(2, positions=ALiBi())), encoder(of(4, positions=ALiBi())), IMAGES, "",
    ),
    "blocks.block: heads that share keys had keys of their own in the parent's Attention": (
        encoder(of(2)), encoder(of(2, sharing=2)), IMAGES, "",
    ),
    "blocks.block: FeedForward is narrower: 8 inside in place of 16": (
        encoder(of()), encoder(of(2, 1.0)), IMAGES, "",
    ),
    "blocks.block: Attention has another window than its parent": (
        encoder(of()), encoder(of(window=2)), IMAGES, "",
    ),
    "blocks.block: Affine takes nothing over from FeedForward": (
        encoder(of()), encoder(of().replace(feed_forward=GELU())), IMAGES, "GELU",
    ),
    "blocks.block_2: an added Block norms after its sums (order='post'), which is no identity": (
        encoder(of().replace(order="post")), encoder(*[of().replace(order="post")] * 2), IMAGES, "",
    ),
    "blocks.block_2: an added Block is an identity only with Attention and FeedForward in it": (
        encoder(of()), encoder(of(), of().replace(feed_forward=GELU())), IMAGES, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_exact_is_refused_with_a_reason(message: str) -> None:
    parent, child, shape, other = REFUSED[message]
    found, *_ = passed_on(parent, child, shape)
    if other:
        message = message.replace("Affine", other)
    assert message in str(found).splitlines()
    assert not found.exact


def test_a_layer_that_is_refused_begins_as_always() -> None:
    parent, child = (
        Sequential(Affine(6), ReLU(), Affine(8)),
        Sequential(Affine(4), ReLU(), Affine(8)),
    )
    fresh = real(network(child, ROWS, Readout()), 2)
    found, apart, old, new = passed_on(parent, child, ROWS)
    assert apart > 0.01
    ours, mine, before = old.state_dict(), new.state_dict(), fresh.state_dict()
    for name in mine:
        equal = ours if name.startswith("head") else before
        assert torch.equal(mine[name], equal[name])
    assert [taken.place for taken in found.taken] == ["head"]


def test_heads_and_inputs_that_differ_are_refused() -> None:
    body = Sequential(Flatten(), Affine(10))
    found, *_ = passed_on(body, body, heads=(Answer(), Readout()))
    assert "head: its parent has Answer here, and it has not" in str(found)
    found, *_ = passed_on(body, body, heads=(PooledReadout("mean"), PooledReadout("last")))
    assert "head: PooledReadout has another pool than its parent" in str(found)
    ours, theirs = network(body, (8,), Answer()), network(body, (9,), Answer())
    assert "input: it has the shape (9,) in place of (8,)" in str(inherit(theirs, ours))
    three = outline(Affine(4), Readout(), ROWS, Task("three", "item", ("a", "b", "c")), FlopMeter())
    few = Network(Affine(4), Readout(), three)
    told = str(inherit(few, network(Affine(4), ROWS, Readout())))
    assert "head: Readout gives 3 numbers in place of 10" in told


SPACE = Sequential(
    Conv(one_of(3, 4, 6), one_of(1, 3)),
    one_of(BatchNorm(), LayerNorm(), ReLU()),
    ReLU(),
    Repeat(
        one_of(
            Sequential(Conv(one_of(3, 6)), ReLU()),
            Residual(Sequential(Conv(one_of(2, 4)), ReLU(), Conv(one_of(3, 4, 6)), BatchNorm())),
            Sequential(SeparableConv(4), BatchNorm(), ReLU()),
        ),
        times=one_of(0, 1, 2, 3),
    ),
    optional(MaxPool(2)),
    one_of(Flatten(), GlobalAveragePool()),
    optional(Sequential(Affine(one_of(5, 8)), ReLU())),
)


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_a_child_that_is_called_exact_is_exact(seed: int) -> None:
    draw = Random(seed)
    parent, child = (replay(SPACE, sample(SPACE, draw)) for _ in range(2))
    found, apart, _, new = passed_on(parent, child)
    assert 0 <= found.overlap <= 1
    assert found.exact == (not found.refused)
    if found.exact:
        assert apart < 1e-9
    for name, tensor in new.state_dict().items():
        assert torch.isfinite(tensor).all(), name
