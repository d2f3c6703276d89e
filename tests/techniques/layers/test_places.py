"""Convolutions, pooling and norms: sizes and numbers, by hand."""

from math import ceil

import pytest
import torch
from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.techniques.layers import (
    ELU,
    GELU,
    Affine,
    AveragePool,
    BatchNorm,
    Conv,
    Dropout,
    GlobalAveragePool,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    MaxPool,
    SeparableConv,
    SequenceConv,
    SqueezeExcite,
)
from vitruvius.techniques.layers.shapes import grow


def build(layer: Layer, x: Tensor) -> nn.Module:
    torch.manual_seed(0)
    return grow(layer, x, address="layer")[0]


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_sizes_of_same_and_valid(kernel: int, stride: int, dilation: int) -> None:
    reach = dilation * (kernel - 1)
    for cells in (1, 2, 5, 8, 13):
        images = torch.randn(1, 2, cells, 13)
        same = [
            Conv(3, kernel, stride, "same", dilation),
            SeparableConv(3, kernel, stride, "same", dilation),
            *(pool(kernel, stride, "same") for pool in (MaxPool, AveragePool) if dilation == 1),
        ]
        for layer in same:
            output = build(layer, images)(images)
            assert output.shape[2:] == (ceil(cells / stride), ceil(13 / stride)), layer
        steps = torch.randn(1, cells, 2)
        for padding in ("same", "causal"):
            layer = SequenceConv(3, kernel, stride, padding, dilation)
            assert build(layer, steps)(steps).shape == (1, ceil(cells / stride), 3)
        if cells > reach:
            layer = Conv(3, kernel, stride, "valid", dilation)
            assert build(layer, images)(images).shape[2] == ceil((cells - reach) / stride)
        else:
            for layer, x in (
                (Conv(3, kernel, stride, "valid", dilation), images),
                (SeparableConv(3, kernel, stride, "valid", dilation), images),
                (SequenceConv(3, kernel, stride, "valid", dilation), steps),
            ):
                with pytest.raises(ValueError, match=f"spans {reach + 1} cells, .* only {cells}"):
                    build(layer, x)


def test_pools_by_hand() -> None:
    x = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0], [-7.0, -8.0, -9.0]])[None, None]
    assert build(MaxPool(2), x)(x).tolist() == [[[[-1.0]]]]
    assert build(MaxPool(2, padding="same"), x)(x).tolist() == [[[[-1, -3], [-7, -9]]]]
    assert build(AveragePool(2), x)(x).tolist() == [[[[-3.0]]]]
    assert build(AveragePool(2, padding="same"), x)(x).tolist() == [[[[-3, -4.5], [-7.5, -9]]]]
    assert build(AveragePool(3, 1, "same"), x)(x)[0, 0, 0].tolist() == pytest.approx([-3, -3.5, -4])
    assert build(GlobalAveragePool(), x)(x).tolist() == [[-5]]
    steps = torch.tensor([[[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]]])
    assert build(MaxPool(2, padding="same"), steps)(steps).tolist() == [[[3, 30], [5, 50]]]
    assert build(GlobalAveragePool(), steps)(steps).tolist() == [[3, 30]]
    with pytest.raises(ValueError, match="MaxPool with padding 'valid' spans 4 cells"):
        build(MaxPool(4), x)


def test_conv_of_an_even_kernel_pads_at_the_end() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    module = build(Conv(1, kernel=2, bias=False), x)
    module[1].weight.data.fill_(1.0)
    assert module(x).tolist() == [[[[10, 6], [7, 4]]]]


def test_causal_convolution_sees_no_later_step() -> None:
    steps = torch.randn(1, 9, 2)
    module = build(SequenceConv(3, kernel=3, padding="causal", dilation=2), steps)
    changed = steps.clone()
    changed[:, 5:] += 1.0
    before, after = module(steps), module(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5], after[:, 5])


def test_parameters_as_documented() -> None:
    images = torch.randn(2, 8, 6, 6)

    def parameters(layer: Layer) -> int:
        return sum(p.numel() for p in build(layer, images).parameters())

    assert parameters(Conv(16, kernel=5)) == 16 * (8 * 25 + 1)
    assert parameters(Conv(16, kernel=5, groups=4, bias=False)) == 16 * 2 * 25
    assert parameters(SeparableConv(16, kernel=5)) == 8 * 25 + 16 * (8 + 1)
    assert parameters(Affine(10)) == 10 * (8 * 36 + 1)
    assert parameters(SqueezeExcite(ratio=1 / 4)) == (8 * 2 + 2) + (2 * 8 + 8)


def test_separable_is_a_convolution_of_rank_one() -> None:
    images = torch.randn(2, 3, 6, 6)
    module = build(SeparableConv(4, kernel=3, bias=False), images)
    depthwise, pointwise = (part.weight for part in module)
    full = torch.einsum("oc,ckl->ockl", pointwise[:, :, 0, 0], depthwise[:, 0])
    expected = nn.functional.conv2d(images, full, padding=1)
    torch.testing.assert_close(module(images), expected)


def test_groups_that_do_not_divide() -> None:
    images = torch.randn(2, 6, 4, 4)
    with pytest.raises(ValueError, match=r"got 4 groups and 6 channels. Set groups=1"):
        build(Conv(8, groups=4), images)
    with pytest.raises(ValueError, match=r"Conv.groups must divide Conv.filters; got 3 groups"):
        Conv(8, groups=3)
    with pytest.raises(ValueError, match=r"got 4 groups and 6 channels. Take a divisor of 6"):
        build(GroupNorm(4), images)


def test_norms() -> None:
    images = torch.randn(4, 6, 3, 3) * 5 + 2
    for layer, axes in (
        (BatchNorm(), (0, 2, 3)),
        (LayerNorm(), (1, 2, 3)),
        (GroupNorm(6), (2, 3)),
    ):
        output = build(layer, images).train()(images)
        torch.testing.assert_close(output.mean(axes), torch.zeros_like(output.mean(axes)))
        spread = output.var(axes, correction=0)
        torch.testing.assert_close(spread, torch.ones_like(spread), rtol=1e-4, atol=1e-4)
    steps = torch.randn(4, 5, 6) * 5 + 2
    means = build(LayerNorm(), steps)(steps).mean(2)
    torch.testing.assert_close(means, torch.zeros(4, 5), rtol=0, atol=1e-5)
    means = build(BatchNorm(), steps).train()(steps).mean((0, 1))
    torch.testing.assert_close(means, torch.zeros(6), rtol=0, atol=1e-5)


def test_norms_refuse_to_erase_their_input() -> None:
    with pytest.raises(ValueError, match="GroupNorm needs more than one number in a group"):
        build(GroupNorm(8), torch.randn(2, 8, 1, 1))
    with pytest.raises(ValueError, match="LayerNorm needs more than one number"):
        build(LayerNorm(), torch.randn(2, 1))


def test_squeeze_excite_scales_channels() -> None:
    images = torch.randn(2, 8, 3, 3)
    factor = build(SqueezeExcite(), images)(images) / images
    assert ((factor > 0) & (factor < 1)).all()
    torch.testing.assert_close(factor, factor[:, :, :1, :1].expand_as(factor))


def test_dropout_keeps_the_mean_and_rests_in_evaluation() -> None:
    ones = torch.ones(1, 40_000)
    module = build(Dropout(0.25), ones).train()
    values = module(ones).unique().tolist()
    assert values == [0.0, pytest.approx(1 / 0.75)]
    assert module(ones).mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(module.eval()(ones), ones)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Conv(0), "Conv.filters must be at least 1; got 0"),
        (lambda: Conv(padding="full"), "Conv.padding is one of 'same', 'valid'; got 'full'"),
        (lambda: SequenceConv(padding="full"), "'same', 'valid', 'causal'; got 'full'"),
        (lambda: MaxPool(2, stride=0), "MaxPool.stride must be at least 1"),
        (lambda: AveragePool(padding=""), "AveragePool.padding is one of"),
        (lambda: SeparableConv(kernel=0), "SeparableConv.kernel must be at least 1"),
        (lambda: Affine(0), "Affine.width must be at least 1"),
        (lambda: Dropout(1.0), "at least 0 and below 1; got 1.0. It is the share that is dropped"),
        (lambda: BatchNorm(momentum=0.0), "BatchNorm.momentum must be above 0"),
        (lambda: BatchNorm(epsilon=0.0), "BatchNorm.epsilon must be above 0"),
        (lambda: LayerNorm(0.0), "LayerNorm.epsilon must be above 0"),
        (lambda: GroupNorm(epsilon=0.0), "GroupNorm.epsilon must be above 0"),
        (lambda: GroupNorm(0), "GroupNorm.groups must be at least 1"),
        (lambda: LeakyReLU(-1.0), "LeakyReLU.slope must not be negative"),
        (lambda: ELU(0.0), "ELU.alpha must be above 0; got 0.0. For 0, use ReLU"),
        (lambda: SqueezeExcite(0.0), "SqueezeExcite.ratio must be above 0"),
    ],
)
def test_check_says_what_is_wrong(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_gelu_has_two_forms() -> None:
    x = torch.linspace(-3, 3, 13)[None]
    exact, tanh = build(GELU(), x)(x), build(GELU(approximate=True), x)(x)
    torch.testing.assert_close(exact, x * torch.distributions.Normal(0, 1).cdf(x))
    assert not torch.equal(exact, tanh)
    torch.testing.assert_close(exact, tanh, rtol=0, atol=1e-3)
