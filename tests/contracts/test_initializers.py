"""Every initializer draws all weights from its generator, in the size of its formula."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.common import example, name, samples
from tests.contracts.tasks import CLASSES, Through, given
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Initializer, Lineage, Model
from vitruvius.techniques.initializers import Default, Kaiming, Orthogonal, Xavier
from vitruvius.techniques.initializers.weights import WeightInitializer, weights_of

ALL = catalogue(Initializer)
DRAWING = [cls for cls in ALL if issubclass(cls, WeightInitializer)]


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 32, 5),
        nn.BatchNorm2d(32),
        nn.Conv2d(32, 64, 3, groups=4),
        nn.LayerNorm([64, 2, 2]),
        nn.Flatten(),
        nn.Linear(256, 400),
        nn.Embedding(10, 6),
    )


def initialized(initializer: Initializer, seed: int = 0) -> dict[str, Tensor]:
    body = Through(network())
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.fill_(float("nan"))
    model = Model({"input": body, "twin": body}, {"task": nn.Linear(7, 5)}, Lineage(""))
    before = torch.get_rng_state()
    found = initializer.initialize(model, given(CLASSES, seed))
    assert torch.equal(torch.get_rng_state(), before)
    assert not found.exact and found.overlap == 0 and not found.sources
    head = {f"head.{n}": t for n, t in model.heads["task"].named_parameters()}
    weights = {**dict(body.network.named_parameters()), **head}
    return {n: t.detach() for n, t in weights.items()}


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_the_seed_alone_decides_all_weights(cls: type[Initializer]) -> None:
    for initializer in (example(cls), *samples(cls, 3)):
        weights = initialized(initializer)
        torch.manual_seed(123)  # of no effect
        again, other = initialized(initializer), initialized(initializer, seed=1)
        for path, weight in weights.items():
            assert torch.isfinite(weight).all(), path
            assert torch.equal(weight, again[path]), path
            if weight.ndim == 2 or weight.ndim == 4:
                assert not torch.equal(weight, other[path]), path


@pytest.mark.parametrize("cls", DRAWING, ids=name)
def test_biases_are_0_and_norms_are_neutral(cls: type[Initializer]) -> None:
    weights = initialized(example(cls))
    for path in ("0.bias", "1.bias", "2.bias", "3.bias", "5.bias", "head.bias"):
        assert not weights[path].any(), path
    assert (weights["1.weight"] == 1).all()
    assert (weights["3.weight"] == 1).all()
    assert 0.7 < weights["6.weight"].std() < 1.3  # an embedding keeps its own


@pytest.mark.parametrize("cls", DRAWING, ids=name)
def test_the_gain_scales_every_weight(cls: type[WeightInitializer]) -> None:
    plain, double = initialized(cls()), initialized(cls(gain=2.0))
    for path in ("0.weight", "2.weight", "5.weight", "head.weight"):
        torch.testing.assert_close(double[path], 2 * plain[path])


def test_default_is_what_pytorch_draws() -> None:
    weights = initialized(Default())
    bound = 1 / math.sqrt(256)
    assert weights["5.weight"].abs().max() <= bound
    assert weights["5.weight"].abs().max() > 0.99 * bound
    assert weights["5.bias"].any()


def test_kaiming_has_the_fan_in_of_what_is_summed() -> None:
    weights = initialized(Kaiming())
    for path, fan_in in (("0.weight", 75), ("2.weight", 72), ("5.weight", 256)):
        weight = weights[path]
        assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05), path
        assert abs(weight.mean().item()) < 0.05 * math.sqrt(2 / fan_in) * 3, path


def test_kaiming_keeps_the_size_of_signals_through_rectifiers() -> None:
    layers = [nn.Linear(256, 256) for _ in range(20)]
    body = Through(nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU()))))
    Kaiming().initialize(Model({"input": body}, {}, Lineage("")), given(CLASSES))
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        last = layers[-1](body.network[:-2](x))
    assert 0.5 < last.square().mean() / 2 < 2.0


def test_xavier_has_the_bound_of_both_fans() -> None:
    weights = initialized(Xavier())
    fans = {"0.weight": (75, 800), "2.weight": (72, 144), "5.weight": (256, 400)}
    for path, (inputs, outputs) in fans.items():
        bound = math.sqrt(6 / (inputs + outputs))
        assert 0.99 * bound < weights[path].abs().max() <= bound, path


def test_orthogonal_rows_or_columns_are_orthonormal() -> None:
    weights = initialized(Orthogonal(gain=2.0))
    for path in ("0.weight", "2.weight", "5.weight", "head.weight"):
        matrix = weights[path].flatten(1) / 2
        matrix = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
        torch.testing.assert_close(
            matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-5, rtol=0, msg=path
        )


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_has_its_fans_the_other_way(groups: int) -> None:
    ((_, weight, inputs, outputs),) = weights_of(nn.ConvTranspose2d(6, 8, 3, groups=groups))
    assert weight.shape == (6, 8 // groups, 3, 3)
    assert (inputs, outputs) == (6 // groups * 9, 8 // groups * 9)


class Mixing(nn.Module):
    """A layer that says of its own parameters what they are."""

    parameter_kinds = {"mix": "matrix", "prompt": "prompt"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.empty(50, 200))
        self.prompt = nn.Parameter(torch.empty(4, 8))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.mix)
        nn.init.ones_(self.prompt)


def test_a_class_says_which_of_its_parameters_are_weights() -> None:
    mixing = Mixing()
    Kaiming().initialize(Model({"input": mixing}, {}, Lineage("")), given(CLASSES))
    assert mixing.mix.std().item() == pytest.approx(math.sqrt(2 / 200), rel=0.05)
    assert (mixing.prompt == 1).all()


def test_a_module_that_cannot_reset_itself_is_named() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

    with pytest.raises(TypeError, match=r"Bare holds parameters and has no reset_parameters"):
        Default().initialize(Model({"input": Bare()}, {}, Lineage("")), given(CLASSES))


@pytest.mark.parametrize("cls", DRAWING, ids=name)
def test_a_gain_of_0_is_refused(cls: type[WeightInitializer]) -> None:
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.gain must be above 0; got 0\.0"):
        cls(gain=0.0)
