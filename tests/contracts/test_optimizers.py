"""Every optimizer keeps the groups it is given, and trains; SGD and AdamW by their formulas."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.common import example, name, samples
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Group, Optimizer
from vitruvius.techniques.optimizers import SGD, AdamW, Muon
from vitruvius.train.checkpoint import load_tensors, pack, save_tensors, unpack

ALL = catalogue(Optimizer)


def parameters(*sizes: tuple[int, ...]) -> list[nn.Parameter]:
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, dtype=torch.float64, generator=rng)) for size in sizes]


def groups() -> list[Group]:
    weight, bias, slow, wide, kernel = parameters((3, 4), (3,), (2, 3), (3, 16), (2, 3, 2, 2))
    return [
        Group(("weight",), (weight,)),
        Group(("bias",), (bias,), "bias", decay=False),
        Group(("slow",), (slow,), rate=0.1),
        Group(("wide",), (wide,), width_ratio=4.0),
        Group(("kernel",), (kernel,), "kernel"),
    ]


def steps(optimizer: Optimizer, start: list[Group], count: int, gradient: float) -> None:
    """Steps along a constant gradient, through the closure, as the loop takes them."""
    made = optimizer.build(start)

    def closure() -> Tensor:
        made.zero_grad()
        value = sum((gradient * p).sum() for group in start for p in group.parameters)
        assert isinstance(value, Tensor)
        value.backward()
        return value

    for _ in range(count):
        made.step(closure)


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_one_param_group_for_each_group_in_order(cls: type[Optimizer]) -> None:
    for optimizer in (example(cls), *samples(cls, 5)):
        given = groups()
        made = optimizer.build(given)
        assert [g["params"] for g in made.param_groups] == [list(g.parameters) for g in given]
        first, bias, slow, wide, kernel = made.param_groups
        assert bias["lr"] == kernel["lr"] == first["lr"] > 0
        assert slow["lr"] == pytest.approx(0.1 * first["lr"])
        assert first["lr"] / 4 <= wide["lr"] <= first["lr"]


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_nothing_decays_where_decay_is_off(cls: type[Optimizer]) -> None:
    for optimizer in samples(cls, 5):
        given = groups()
        before = [group.parameters[0].detach().clone() for group in given]
        steps(optimizer, given, 3, gradient=0.0)
        after = [group.parameters[0].detach() for group in given]
        for group, a, b in zip(given, after, before, strict=True):
            assert (a.abs() < b.abs()).all() if group.decay else torch.equal(a, b)


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_the_same_steps_give_the_same_bits(cls: type[Optimizer]) -> None:
    ends = []
    for _ in range(2):
        given = groups()
        steps(example(cls), given, 5, gradient=1.0)
        ends.append([group.parameters[0].detach() for group in given])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_it_goes_on_from_its_saved_state(cls: type[Optimizer]) -> None:
    whole, halves = groups(), groups()
    steps(example(cls), whole, 2, gradient=1.0)
    first = example(cls).build(halves)
    for _ in range(2):
        second = example(cls).build(halves)
        if first.state:
            second.load_state_dict(first.state_dict())
        for group in halves:
            group.parameters[0].grad = torch.ones_like(group.parameters[0])
        second.step()
        first = second
    for a, b in zip(whole, halves, strict=True):
        assert torch.equal(a.parameters[0], b.parameters[0])


def gradients(start: list[Group], seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    for group in start:
        for p in group.parameters:
            p.grad = torch.randn(p.shape, dtype=torch.float64, generator=rng).to(p.dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("cls", ALL, ids=name)
def test_it_goes_on_from_a_file_to_the_same_bits(
    cls: type[Optimizer], dtype: torch.dtype, tmp_path: Path
) -> None:
    for optimizer in (example(cls), *samples(cls, 5)):
        whole, halves = groups(), groups()
        for group in (*whole, *halves):
            for p in group.parameters:
                p.data = p.data.to(dtype)
        made, first = optimizer.build(whole), optimizer.build(halves)
        for step in range(12):
            gradients(whole, step)
            made.step()
        for step in range(7):
            gradients(halves, step)
            first.step()
        tensors, values = pack("optimizer", first.state_dict())
        save_tensors(tmp_path / "file", tensors, json.loads(json.dumps(values)))
        second = optimizer.build(halves)
        second.load_state_dict(unpack("optimizer", *load_tensors(tmp_path / "file")))
        for step in range(7, 12):
            gradients(halves, step)
            second.step()
        for a, b in zip(whole, halves, strict=True):
            assert torch.equal(a.parameters[0], b.parameters[0]), optimizer


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_a_parameter_without_gradient_stays(cls: type[Optimizer]) -> None:
    given = groups()
    before = [group.parameters[0].detach().clone() for group in given]
    made = example(cls).build(given)
    for step in range(3):
        gradients(given, step)
        given[0].parameters[0].grad = None
        made.step()
    after = [group.parameters[0].detach() for group in given]
    same = [torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    assert same == [True, False, False, False, False]


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_a_step_gives_what_its_closure_gives(cls: type[Optimizer]) -> None:
    given = groups()
    made = example(cls).build(given)

    def closure() -> Tensor:
        assert torch.is_grad_enabled()
        gradients(given, 0)
        return torch.tensor(2.5)

    with torch.no_grad():
        assert float(made.step(closure)) == 2.5  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_it_finds_the_minimum_of_a_bowl(cls: type[Optimizer]) -> None:
    (x,) = parameters((5,))
    x.data += 3
    made = example(cls).build([Group(("x",), (x,), decay=False)])
    first = float(x.detach().square().sum())

    def closure() -> Tensor:
        made.zero_grad()
        loss = x.square().sum()
        loss.backward()
        return loss

    for _ in range(200):
        made.step(closure)
    assert float(x.detach().square().sum()) < 0.95 * first


def test_it_takes_parameters_that_have_no_fused_kernel() -> None:
    weight = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    made = AdamW().build([Group(("weight",), (weight,))])
    weight.grad = torch.ones_like(weight)
    made.step()
    assert (weight.detach().real < 1).all()


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_by_hand(nesterov: bool) -> None:
    w, rate, momentum, decay = 2.0, 0.1, 0.9, 0.01
    parameter = nn.Parameter(torch.tensor([w], dtype=torch.float64))
    made = SGD(rate, momentum, decay, nesterov).build([Group(("w",), (parameter,))])
    velocity = None
    for gradient in (1.0, -3.0, 0.5):
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        made.step()
        g = gradient + decay * w
        velocity = g if velocity is None else momentum * velocity + g
        w -= rate * (g + momentum * velocity if nesterov else velocity)
        assert parameter.item() == pytest.approx(w, rel=1e-12)


def test_adamw_by_hand() -> None:
    w, rate, decay, beta1, beta2 = 2.0, 0.01, 0.1, 0.9, 0.99
    parameter = nn.Parameter(torch.tensor([w], dtype=torch.float64))
    made = AdamW(rate, decay, beta1, beta2).build([Group(("w",), (parameter,))])
    mean = square = 0.0
    for step, gradient in enumerate((1.0, -3.0, 0.5), 1):
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        made.step()
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        m, v = mean / (1 - beta1**step), square / (1 - beta2**step)
        w -= rate * (decay * w + m / (v**0.5 + 1e-8))
        assert parameter.item() == pytest.approx(w, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-1.0), r"SGD\.learning_rate must not be negative; got -1\.0"),
        (lambda: SGD(weight_decay=-1.0), r"SGD\.weight_decay must not be negative"),
        (lambda: SGD(momentum=1.0), r"SGD\.momentum must be at least 0 and below 1; got 1\.0"),
        (lambda: SGD(momentum=0.0), r"SGD\.nesterov looks ahead .* Set nesterov=False"),
        (lambda: AdamW(float("nan")), r"AdamW\.learning_rate must be a finite number; got nan"),
        (lambda: AdamW(weight_decay=-0.1), r"AdamW\.weight_decay must not be negative"),
        (lambda: Muon(-1.0), r"Muon\.learning_rate must not be negative; got -1\.0"),
        (lambda: Muon(momentum=1.0), r"Muon\.momentum must be at least 0 and below 1; got 1\.0"),
        (lambda: AdamW(beta1=1.0), r"AdamW\.beta1 must be at least 0 and below 1"),
        (lambda: AdamW(beta2=-0.1), r"AdamW\.beta2 must be at least 0 and below 1"),
    ],
)
def test_what_does_not_fit_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
