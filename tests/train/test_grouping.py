"""Widths: which rates follow them, and that activations then do not (coordinate check)."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from vitruvius.contracts import Group, Optimizer, State
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.training import Train
from vitruvius.space import Infeasible, Repeat, one_of, replay, sample
from vitruvius.techniques.layers import Affine, Dropout, Flatten, ReLU, Sequential
from vitruvius.techniques.optimizers import SGD, SOAP, AdamW, Muon
from vitruvius.train.grouping import Widths, group_parameters, shrink_outputs, widths_over

SETTING = Setting(seed=0, device=torch.device("cpu"), precision=torch.float32, threads=1)
BASE, WIDTHS = 64, (64, 128, 256)


def network(width: int) -> nn.Sequential:
    hidden = [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), *hidden, nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 10),
    )  # fmt: skip


def test_only_what_the_width_goes_into_has_a_ratio() -> None:
    widths = widths_over(network(256), network(64))
    assert widths == Widths({"2.weight": 4.0, "4.weight": 4.0, "6.weight": 4.0}, ("6.weight",))
    assert widths_over(network(64), network(64)) == Widths()
    groups = group_parameters(network(256), widths)
    found = {(g.kind, g.width_ratio): g.names for g in groups}
    assert found == {
        ("matrix", 1.0): ("0.weight",),
        ("bias", 1.0): ("0.bias", "2.bias", "4.bias", "6.bias"),
        ("matrix", 4.0): ("2.weight", "4.weight", "6.weight"),
    }


def test_tables_have_no_ratio_and_kernels_have_that_of_their_channels() -> None:
    def made(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Embedding(50, width), nn.Conv1d(width, width, 3), nn.LayerNorm(width)
        )

    assert widths_over(made(32), made(8)) == Widths({"1.weight": 4.0}, ())


@pytest.mark.parametrize(
    ("optimizer", "rates"),
    [
        (AdamW(0.01), {0.01, 0.0025}),
        (SOAP(0.01), {0.01, 0.005}),
        (Muon(0.01), {0.01, 0.005}),
        (SGD(0.01), {0.01}),
    ],
)
def test_each_optimizer_has_its_power_of_the_ratio(optimizer: Optimizer, rates: set[float]) -> None:
    wide = network(256)
    made = optimizer.build(group_parameters(wide, widths_over(wide, network(64))))
    assert {group["lr"] for group in made.param_groups} == rates


def test_fresh_outputs_shrink_with_the_width_and_not_with_its_root() -> None:
    wide = network(256)
    before = {name: p.detach().clone() for name, p in wide.named_parameters()}
    shrink_outputs(wide, widths_over(wide, network(64)))
    for name, p in wide.named_parameters():
        assert torch.equal(p, before[name] / (2 if name == "6.weight" else 1))


def test_networks_of_other_parts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the base has no 6\.weight of 2 axes"):
        widths_over(network(64), network(64)[:6])
    with pytest.raises(ValueError, match=r"the base has 6\.weight, and the network has not"):
        widths_over(network(64)[:6], network(64))


def inputs() -> tuple[Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    seen = torch.tensor(x, dtype=torch.float32)
    return (seen - seen.mean(0)) / (seen.std(0) + 1), torch.tensor(y)


def sizes(optimizer: Optimizer, width: int, steps: int, *, follow: bool) -> Tensor:
    """[2 layers] mean |activation| of each layer, and of its change by so many steps."""
    x, y = inputs()
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        net = network(width)
        widths = widths_over(net, network(BASE)) if follow else Widths()
        shrink_outputs(net, widths)
        made = optimizer.build(group_parameters(net, widths))
        before = activations(net, x)
        for _ in range(steps):
            rows = torch.randint(len(x), (256,))
            made.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            made.step()
        after = activations(net, x)
        changes = [(a - b).abs().mean() for a, b in zip(after, before, strict=True)]
        found.append(
            torch.stack([torch.stack([a.abs().mean() for a in after]), torch.stack(changes)])
        )
    return torch.stack(found).mean(0)


@torch.no_grad()
def activations(net: nn.Sequential, x: Tensor) -> list[Tensor]:
    found = []
    for part in net:
        x = part(x)
        if isinstance(part, nn.Linear):
            found.append(x)
    return found


def growth(optimizer: Optimizer, steps: int, *, follow: bool) -> Tensor:
    """[2 layers] the largest over the smallest of all widths."""
    found = torch.stack([sizes(optimizer, width, steps, follow=follow) for width in WIDTHS])
    return found.max(0).values / found.min(0).values


def test_activations_change_alike_at_all_widths_where_rates_follow_them() -> None:
    following, not_following = (growth(AdamW(0.01), 5, follow=f) for f in (True, False))
    assert following.max() < 1.5
    assert not_following[0].max() > 3
    assert not_following[1, 1:].min() > 1.3


@pytest.mark.parametrize("optimizer", [Muon(0.03), SOAP(0.01)])
def test_those_of_matrix_optimizers_grow_less(optimizer: Optimizer) -> None:
    following, not_following = (growth(optimizer, 10, follow=f) for f in (True, False))
    assert (following[0, 1:3] < 1.5).all()
    assert following[0, 3] < 0.5 * not_following[0, 3]


@pytest.fixture(scope="module")
def loaded() -> State:
    return LocalLab(SETTING).run(Load("digits"), {})


def design(width: int) -> Sequential:
    return Sequential(Flatten(), Affine(width), ReLU(), Affine(width), ReLU(), Affine(10))


SEEN: list[float] = []


class Watching(AdamW):
    """Notes the ratios that it is given, and how large the last weights of the network are."""

    def build(self, groups: Sequence[Group]) -> torch.optim.Optimizer:
        SEEN.extend(sorted({group.width_ratio for group in groups}))
        last = [p for g in groups for n, p in zip(g.names, g.parameters, strict=True)
                if p.shape == (10, 64)]  # fmt: skip
        SEEN.append(float(last[0].detach().std()))
        return super().build(groups)


@pytest.mark.parametrize("base", [None, 64, 16])
def test_a_training_follows_the_base_that_it_is_given(loaded: State, base: int | None) -> None:
    SEEN.clear()
    given = None if base is None else design(base)
    stage = Train(model=design(64), base=given, epochs=1, optimizer=Watching())
    LocalLab(SETTING).run(stage, {"before": loaded})
    *ratios, size = SEEN
    assert ratios == ([1.0, 4.0] if base == 16 else [1.0])
    torchs = 1 / (3 * 64) ** 0.5  # uniform between -1 / sqrt(fan-in) and its opposite
    assert size == pytest.approx(torchs / (2 if base == 16 else 1), rel=0.1)


def test_a_base_of_other_parts_is_infeasible(loaded: State) -> None:
    base = Sequential(Flatten(), Affine(16), ReLU(), Dropout(0.1), Affine(10))
    with pytest.raises(Infeasible, match="Give a base of the same parts"):
        LocalLab(SETTING).run(Train(model=design(64), base=base, epochs=1), {"before": loaded})


def test_a_named_depth_keeps_model_and_base_of_the_same_parts(loaded: State) -> None:
    def deep(width: Any) -> Sequential:
        depth = one_of(1, 2, 3, name="depth")
        return Sequential(Flatten(), Affine(width), Repeat(Affine(width), times=depth), Affine(10))

    space = Train(model=deep(one_of(16, 64, name="width")), base=deep(16), epochs=1)
    for seed in range(6):
        chosen = replay(space, sample(space, Random(seed)))
        LocalLab(SETTING).run(chosen, {"before": loaded})
