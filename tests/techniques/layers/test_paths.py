"""Layers of several paths: what comes out, by hand."""

from random import Random

import pytest
import torch
from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import (
    Ref,
    Repeat,
    count,
    decide,
    either_order,
    enumerate_points,
    grammar,
    one_of,
    optional,
    replay,
    sample,
)
from vitruvius.techniques.layers import (
    Affine,
    BatchNorm,
    Branches,
    Combine,
    Conv,
    Dense,
    Dropout,
    GlobalAveragePool,
    Graph,
    Identity,
    MaxPool,
    ReLU,
    Residual,
    SequenceConv,
    Sequential,
    SqueezeExcite,
    Wire,
)
from vitruvius.techniques.layers.shapes import Unfit, grow


def build(layer: Layer, *inputs: Tensor) -> nn.Module:
    torch.manual_seed(0)
    return grow(layer, *inputs, address="network")[0]


IMAGES = torch.arange(2 * 3 * 5 * 4, dtype=torch.float32).reshape(2, 3, 5, 4)


def test_residual_adds_the_input() -> None:
    assert torch.equal(build(Residual(Identity()), IMAGES)(IMAGES), 2 * IMAGES)


def test_residual_pads_the_shortcut_with_channels_of_zeros() -> None:
    module = build(Residual(Conv(5, stride=2)), IMAGES)
    body = module.body(IMAGES)
    output = module(IMAGES)
    assert output.shape == (2, 5, 3, 2)  # ceil(5 / 2), ceil(4 / 2)
    assert torch.equal(output[:, 3:], body[:, 3:])
    assert torch.equal(output[:, :3], body[:, :3] + IMAGES[:, :, ::2, ::2])


def test_residual_pads_the_body_where_it_has_fewer_channels() -> None:
    module = build(Residual(Conv(2)), IMAGES)
    body = module.body[0](IMAGES)
    output = module(IMAGES)
    assert torch.equal(output[:, 2:], IMAGES[:, 2:])
    assert torch.equal(output[:, :2], body + IMAGES[:, :2])


def test_residual_pads_features_of_rows_and_subsamples_steps() -> None:
    rows = torch.randn(4, 3)
    module = build(Residual(Affine(5)), rows)
    expected = module.body(rows)
    expected[:, :3] += rows
    assert torch.equal(module(rows), expected)

    steps = torch.randn(2, 7, 3)
    module = build(Residual(SequenceConv(4, stride=3)), steps)
    expected = module.body(steps)
    expected[..., :3] += steps[:, ::3]
    assert torch.equal(module(steps), expected)


def test_residual_projects() -> None:
    module = build(Residual(Conv(5, stride=2), "project"), IMAGES)
    assert module.shortcut.weight.shape == (5, 3, 1, 1)
    projected = torch.einsum("oc,bchw->bohw", module.shortcut.weight[:, :, 0, 0], IMAGES)
    torch.testing.assert_close(module(IMAGES), module.body(IMAGES) + projected[:, :, ::2, ::2])


@pytest.mark.parametrize(
    ("body", "cells"),
    [
        (Conv(3, padding="valid"), 8),
        (Conv(3, padding="valid"), 5),  # 3 of 5 cells come out, as with a stride of 2
        (MaxPool(2), 9),
    ],
)
def test_residual_never_shifts_places(body: Layer, cells: int) -> None:
    words = rf"no stride of the shortcut takes the same \d of {cells} places. Use padding='same'"
    with pytest.raises(ValueError, match=words):
        build(Residual(body), torch.randn(2, 3, cells, cells))


def test_residual_finds_the_stride_of_several_layers() -> None:
    images = torch.randn(2, 3, 5, 5)  # 5 -> 3 -> 2: of 2 cells a stride of 3 or 4 leaves as many
    module = build(Residual(Sequential(MaxPool(1, 2, "same"), MaxPool(1, 2, "same"))), images)
    assert torch.equal(module(images), 2 * images[:, :, ::4, ::4])


def test_residual_refuses_a_body_that_flattens() -> None:
    words = r"must keep the rank; it turns \[B, 3, 5, 4\] into \[B, 7\]"
    with pytest.raises(ValueError, match=words):
        build(Residual(Affine(7)), IMAGES)


def test_branches_combine() -> None:
    two = (Conv(4), Conv(4, kernel=1))
    for how in ("sum", "mean", "concat"):
        module = build(Branches(*two, combine=how), IMAGES)
        a, b = (body(IMAGES) for body in module.bodies)
        expected = {"sum": a + b, "mean": (a + b) / 2, "concat": torch.cat((a, b), 1)}[how]
        assert torch.equal(module(IMAGES), expected)


def test_branches_refuse_unequal_shapes() -> None:
    with pytest.raises(ValueError, match=r"sum needs equal shapes; got \[B, 4, 5, 4\], \[B, 3, 5"):
        build(Branches(Conv(4), Identity()), IMAGES)
    with pytest.raises(ValueError, match="concat needs shapes that are equal but for the channels"):
        build(Branches(Conv(4), MaxPool(2), combine="concat"), IMAGES)
    with pytest.raises(ValueError, match="Branches needs at least one body"):
        Branches()


def test_dense_block_hands_on_all_before() -> None:
    module = build(Dense(Conv(4), Conv(2)), IMAGES)
    first, second = module.bodies
    assert second.in_channels == 3 + 4
    output = module(IMAGES)
    assert output.shape == (2, 3 + 4 + 2, 5, 4)
    assert torch.equal(output[:, :3], IMAGES)
    assert torch.equal(output[:, 3:7], first(IMAGES))
    assert torch.equal(output[:, 7:], second(output[:, :7]))


def test_graph_of_two_inputs() -> None:
    graph = Graph(
        ("image", "row"),
        (
            Wire("seen", Sequential(Conv(6), GlobalAveragePool()), ("image",)),
            Wire("both", Affine(5), ("seen", "row"), combine="concat"),
            Wire("answer", Combine("sum"), ("both", "row")),
        ),
        "answer",
    )
    images, rows = torch.randn(2, 3, 5, 4), torch.randn(2, 5)
    module = build(graph, images, rows)
    seen, both, _ = module.layers
    expected = both.layer(torch.cat((seen(images), rows), 1)) + rows
    assert torch.equal(module(images, rows), expected)
    assert sum(p.numel() for p in module.parameters()) == (6 * 27 + 6) + (5 * 11 + 5)


def test_graph_searches_over_its_wiring_and_builds_only_what_counts() -> None:
    space = Graph(
        ("x",),
        (
            Wire("a", Conv(3), ("x",)),
            Wire("b", Conv(3), (one_of("x", "a"),)),
            Wire("c", ReLU(), ("b", optional("a"))),
        ),
        "c",
    )
    designs = [replay(space, point) for point in enumerate_points(space)]
    assert len(designs) == count(space).points == 4
    built = {(d.nodes[1].inputs, d.nodes[2].inputs): len(build(d, IMAGES).layers) for d in designs}
    assert built == {
        (("x",), ("b",)): 2,  # a reaches nothing
        (("x",), ("b", "a")): 3,
        (("a",), ("b",)): 3,
        (("a",), ("b", "a")): 3,
    }
    assert "nodes.c.inputs.optional" in next(iter(enumerate_points(space)))


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (lambda: Graph(nodes=(Wire("a", ReLU(), ("b",)),)), "'a' reads 'b', which is no input"),
        (lambda: Graph(nodes=(Wire("x", ReLU(), ("x",)),)), "has the name 'x' twice"),
        (lambda: Graph(output="y"), "output 'y' is no input and no node"),
        (lambda: Graph(nodes=(ReLU(),)), r"takes Wire\(...\)"),
        (lambda: Wire("a", ReLU()), "'a' reads nothing"),
        (lambda: Wire("a b", ReLU(), ("x",)), "must be a plain word"),
    ],
)
def test_graph_says_what_is_wrong(graph, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        graph()


def test_graph_counts_its_inputs_and_says_where() -> None:
    two = Graph(("a", "b"), (Wire("c", Combine(), ("a", "b")),), "c")
    with pytest.raises(ValueError, match=r"^graph: Graph.inputs names 2 inputs \(a, b\); got 1"):
        Sequential(two).build(IMAGES)
    uneven = Graph(("x",), (Wire("y", Conv(2), ("x",)), Wire("z", ReLU(), ("x", "y"))), "z")
    with pytest.raises(ValueError, match=r"^graph\.z: sum needs equal shapes"):
        Sequential(uneven).build(IMAGES)


def test_a_hole_is_named_with_its_place() -> None:
    network = Sequential(Sequential(ReLU(), Affine(7)), Conv(3), Conv(3))
    with pytest.raises(ValueError, match=r"^conv: Conv needs images \[B, C, H, W\]; got \[B, 7\]"):
        network.build(IMAGES)
    inner = Sequential(Conv(3), Residual(Sequential(ReLU(), Conv(4, kernel=9, padding="valid"))))
    words = r"^residual\.body\.conv: Conv with padding 'valid' spans 9 cells, but .* has only 4"
    with pytest.raises(ValueError, match=words):
        inner.build(IMAGES)


def test_a_tuple_is_no_layer() -> None:
    with pytest.raises(ValueError, match=r"Sequential.layers takes layers; .*Sequential\(...\)"):
        Sequential((ReLU(), ReLU()))
    with pytest.raises(ValueError, match=r"Residual.body takes layers"):
        Residual((ReLU(), ReLU()))


def test_without_layers_the_input_comes_out() -> None:
    for empty in (Sequential(), Dense(), Graph()):
        assert torch.equal(build(empty, IMAGES)(IMAGES), IMAGES)


def test_tied_copies_share_decisions_and_no_weights() -> None:
    block = Sequential(Affine(one_of(3, 4, 5)), BatchNorm(), Dropout(one_of(0.1, 0.5)))
    space = Sequential(Repeat(block, times=3, tied=True))
    assert count(space).points == 6
    design = decide(space, lambda decision: decision.domain.at(0.99))
    assert design.layers[0] == design.layers[1] == design.layers[2]
    rows = torch.randn(6, 5)
    module = build(design, rows)
    first, second, _ = module
    assert first[0].weight.shape == second[0].weight.shape == (5, 5)
    assert first[0].weight is not second[0].weight
    assert not torch.equal(first[0].weight, second[0].weight)


def nested() -> Layer:
    """Paths inside of paths, with strides and widths that may or may not fit each other."""
    return grammar(
        "body",
        4,
        body=one_of(
            Conv(one_of(2, 4), one_of(1, 2, 3), one_of(1, 2), one_of("same", "valid")),
            MaxPool(2, one_of(None, 1), one_of("same", "valid")),
            BatchNorm(),
            SqueezeExcite(),
            Sequential(Ref("body"), ReLU(), Ref("body")),
            Residual(Ref("body"), shortcut=one_of("zeros", "project")),
            Branches(Ref("body"), Ref("body"), combine=one_of("sum", "mean", "concat")),
            Dense(Ref("body"), Ref("body")),
        ),
    )


def test_nested_paths_tell_their_shape() -> None:
    """What composites say comes out is what comes out."""
    space, rng, fitting = nested(), Random(0), 0
    images = torch.randn(2, 3, 6, 7)
    for _ in range(300):
        layer = replay(space, sample(space, rng))
        try:
            _, output = grow(layer, images.to("meta"), address="network")
        except Unfit as error:
            assert isinstance(error.__cause__, ValueError)
            continue
        module, direct = grow(layer, images, address="network")
        assert module.training
        assert module(images).shape == direct.shape == output.shape
        fitting += isinstance(layer, (Sequential, Residual, Branches, Dense))
    assert fitting > 50


def block(channels: int) -> Layer:
    return Sequential(
        Conv(channels, kernel=one_of(3, 5)),
        either_order(ReLU(), BatchNorm()),
        optional(Dropout.space()),
    )


def test_the_example_of_the_guide() -> None:
    digits = Sequential(
        Repeat(block(one_of(16, 32)), times=one_of(1, 2, 4)),
        MaxPool(2),
        Residual(block(one_of(32, 64, name="width"))),
        Conv(one_of(32, 64, name="width")),
        one_of(GlobalAveragePool(), Identity()),
        Affine(10),
    )
    b = 2 * 2 * 2  # kernel, order, dropout or none (its rate is real)
    assert count(digits).points == sum((2 * b) ** n for n in (1, 2, 4)) * 2 * b * 2
    for seed in range(10):
        design = replay(digits, sample(digits, Random(seed)))
        module = build(design, torch.randn(2, 1, 8, 8))
        assert module(torch.randn(2, 1, 8, 8)).shape == (2, 10)
        widths = {design.layers[-4].body.layers[0].filters, design.layers[-3].filters}
        assert len(widths) == 1 and widths <= {32, 64}
