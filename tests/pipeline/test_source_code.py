"""What cannot be exported says which class it is and what to change; what can is written back."""

import math
from collections.abc import Callable

import pytest
import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor, nn

from vitruvius.pipeline.expressions import ExportError, expression, literal, text
from vitruvius.pipeline.source_code import Sources

HALF = 0.5


def doubled(x: Tensor) -> Tensor:
    return 2 * x


class Scaled(nn.Module):
    """Uses a constant, a function, a base class and the standard library."""

    def __init__(self, body: nn.Module, factor: float = HALF, *, name: str = "scaled") -> None:
        super().__init__()
        self.body, self.factor, self.name = body, factor, name

    def forward(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
        return doubled(self.body(x)) * HALF * math.sqrt(self.factor)


class Further(Scaled):
    """Twice."""

    def again(self, x: Tensor) -> Tensor:
        return self(self(x))


class Forgetful(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)


class Variadic(nn.Module):
    def __init__(self, *bodies: nn.Module) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(bodies)


class WithFunction(nn.Module):
    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f


class UsesScipy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(special.expit(x.numpy()))


MODULES = [
    nn.Conv2d(4, 8, (3, 5), (1, 2), (1, 2), 1, 2, False, "circular"),
    nn.Conv1d(3, 4, 2, padding="valid"),
    nn.ConvTranspose2d(2, 3, 2, 2),
    nn.Linear(3, 4, bias=False),
    nn.BatchNorm1d(5, 1e-3, 0.2, affine=False),
    nn.BatchNorm2d(5, momentum=None, track_running_stats=False),
    nn.LayerNorm((4, 5), 1e-4, bias=False),
    nn.GroupNorm(2, 4, affine=False),
    nn.Embedding(10, 3, padding_idx=0),
    nn.MaxPool2d(2, 1, 1),
    nn.AvgPool2d(3, ceil_mode=True, count_include_pad=False),
    nn.AdaptiveAvgPool2d((1, 2)),
    nn.ConstantPad2d((1, 2, 0, 1), -math.inf),
    nn.ZeroPad2d(2),
    nn.LeakyReLU(0.2, True),
    nn.ELU(0.3),
    nn.GELU("tanh"),
    nn.Softmax(1),
    nn.Dropout2d(0.3),
    nn.Flatten(2),
    nn.Unflatten(1, (2, 3)),
    nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True),
    nn.Identity(),
    nn.Sequential(),
    nn.ModuleList([nn.ReLU(), nn.Tanh()]),
    nn.ModuleDict({"it's": nn.ReLU()}),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: type(m).__name__)
def test_modules_of_torch_are_written_back(module: nn.Module) -> None:
    again = eval(text(expression(module)), {"nn": nn, "torch": torch})
    assert repr(again) == repr(module)
    assert {n: t.shape for n, t in again.state_dict().items()} == {
        n: t.shape for n, t in module.state_dict().items()
    }


def test_modules_of_ours_are_written_with_what_they_need() -> None:
    sources = Sources()
    sources.add(Further)
    assert list(sources.definitions) == ["doubled", "Scaled", "Further"]
    assert sources.constants == {"HALF": "HALF = 0.5"}
    code = "\n".join(
        [sources.written_imports(), *sources.constants.values(), *sources.definitions.values()]
    )
    assert "jaxtyping" not in code and "Float[" not in code
    space: dict = {}
    exec(code, space)
    module = Further(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), 0.3, name='a "name"')
    again = eval(text(expression(module)), {**space, "nn": nn})
    again.load_state_dict(module.state_dict())
    x = torch.randn(4, 3)
    assert torch.equal(again.again(x), module.again(x))
    assert again.name == module.name


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Forgetful(3), "Forgetful does not keep the argument 'width'.*self.width = width"),
        (Variadic(nn.ReLU()), r"Variadic.*\*bodies.*ModuleList"),
        (WithFunction(torch.relu), r"WithFunction\.f holds a .*cannot be written"),
        (nn.Sequential(nn.ReLU(), Forgetful(2)), "Forgetful"),
        (nn.MultiheadAttention(4, 2, bias=False), "nn.MultiheadAttention.*Wrap it"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "parametrizations"),
    ],
)
def test_what_cannot_be_written_is_named(module: nn.Module, words: str) -> None:
    with pytest.raises(ExportError, match=words) as raised:
        expression(module)
    assert "\n" not in str(raised.value)


def test_hooks_and_patches_are_refused() -> None:
    hooked = nn.ReLU()
    hooked.register_forward_hook(lambda *given: None)
    with pytest.raises(ExportError, match="ReLU has forward hooks"):
        expression(nn.Sequential(hooked))
    patched = nn.ReLU()
    patched.forward = torch.tanh  # type: ignore[method-assign]
    with pytest.raises(ExportError, match="forward of a ReLU was replaced"):
        expression(patched)


def test_other_packages_are_refused() -> None:
    with pytest.raises(ExportError, match="UsesScipy uses special from scipy"):
        Sources().add(UsesScipy)


def test_sources_that_are_nowhere_are_refused() -> None:
    made = type("Made", (nn.Module,), {})
    with pytest.raises(ExportError, match="source of Made is not to be found"):
        Sources().add(made)


def test_two_classes_of_one_name_are_refused() -> None:
    sources = Sources(origins={"Scaled": None})
    with pytest.raises(ExportError, match="Two definitions are called Scaled"):
        sources.add(Scaled)


@pytest.mark.parametrize(
    "value",
    ["plain", "it's", 'say "so"', "both ' and \"", "tab\tline\nback\\slash", "é", 1e-7, -3, True,
     None, (1,), ("a", (2.5, "b")), [1, "c"], {"k": (1, 2)}, ()],
)  # fmt: skip
def test_literals_are_read_back(value: object) -> None:
    assert eval(literal(value)) == value
    assert literal("it's") == '"it\'s"' and literal('say "so"') == "'say \"so\"'"
