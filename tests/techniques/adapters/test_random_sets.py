"""RandomTensors and RandomEntries: exact budgets, and sets that the seed alone decides."""

from __future__ import annotations

import subprocess
import sys
from random import Random
from typing import Any

import pytest
import torch

from tests.contracts.bases import TASK, batch, given, train
from tests.contracts.bases import base as base_of
from vitruvius.contracts import Adapter, Given, Model, base_parameters
from vitruvius.techniques.adapters import RandomEntries, RandomTensors
from vitruvius.techniques.adapters.random_tensors import filled
from vitruvius.techniques.adapters.structure import candidates
from vitruvius.train.adapting import attach
from vitruvius.train.checkpoint import digest_of


def base(kind: str = "ours") -> Model:
    return base_of(kind)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", [40, 700, 5000, 20000, 10**9])
@pytest.mark.parametrize("unit", ["tensor", "module"])
def test_the_budget_is_filled_and_never_exceeded(budget: int, seed: int, unit: str) -> None:
    model = base()
    sizes: dict[str, int] = {}
    for name, parameter in candidates(model).items():
        group = name if unit == "tensor" else name.rpartition(".")[0]
        sizes[group] = sizes.get(group, 0) + parameter.numel()
    adapter = RandomTensors(budget, seed, unit)
    if budget < min(sizes.values()):
        with pytest.raises(ValueError, match=r"budget must be at least that of the smallest"):
            attach(adapter, model, given())
        return
    adapted = attach(adapter, model, given())
    trained = {n for n, p in base_parameters(model).items() if p.requires_grad}
    picked = {n if unit == "tensor" else n.rpartition(".")[0] for n in trained}
    left = [size for name, size in sizes.items() if name not in picked]
    assert adapted.count == sum(sizes[name] for name in picked) <= budget
    assert not left or budget - adapted.count < min(left)
    whole = {
        n for n in candidates(model) if (n if unit == "tensor" else n.rpartition(".")[0]) in picked
    }
    assert trained == whole, "all of a group trains, or none"


def test_the_order_of_names_does_not_matter() -> None:
    sizes = {f"name {number}": 10 + number for number in range(50)}
    names = list(sizes)
    Random(1).shuffle(names)
    assert filled(sizes, 300, 3) == filled({name: sizes[name] for name in names}, 300, 3)
    assert filled(sizes, 300, 3) != filled(sizes, 300, 4)


@pytest.mark.parametrize("by", ["uniform", "weight"])
@pytest.mark.parametrize("budget", [1, 250, 2500])
def test_exactly_so_many_entries_train_and_change(by: str, budget: int) -> None:
    model = base()
    first = {n: p.detach().clone() for n, p in base_parameters(model).items()}
    adapted = attach(RandomEntries(budget, by), model, given())
    assert adapted.count == budget
    train(adapted.model)
    changed = {n: int((p != first[n]).sum()) for n, p in base_parameters(adapted.merge()).items()}
    assert 0 < sum(changed.values()) <= budget
    saved = attach(RandomEntries(budget, by), base(), given()).save()[0].tensors
    assert sum(t.numel() for n, t in saved.items() if not n.endswith("places")) == budget


def test_more_than_there_are_is_all() -> None:
    total = sum(p.numel() for p in candidates(base()).values())
    assert attach(RandomEntries(10**9), base(), given()).count == total


def test_the_largest_weights_are_those_of_the_whole_model() -> None:
    model = base()
    masks = RandomEntries(500, "weight").choose(model, given())
    every = torch.cat([p.detach().abs().flatten() for p in candidates(model).values()])
    least = min(
        float(base_parameters(model)[n].detach().abs()[mask].min()) for n, mask in masks.items()
    )
    assert least >= float(every.sort().values[-500])


@pytest.mark.parametrize(
    "adapter", [RandomTensors(2500, 7), RandomEntries(300, seed=7)], ids=lambda a: type(a).__name__
)
def test_another_process_picks_the_same(adapter: Adapter) -> None:
    code = (
        "from tests.techniques.adapters.test_random_sets import base, digest_of, given\n"
        "from vitruvius.techniques.adapters import *\n"
        f"masks = {adapter!r}.choose(base(), given())\n"
        "print(digest_of({n: m.clone() for n, m in masks.items()}))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    chosen: Any = adapter
    masks = chosen.choose(base(), given())
    assert there.stdout.strip() == digest_of({n: m.clone() for n, m in masks.items()})


def test_by_gradient_the_steepest_are_chosen() -> None:
    model = base()
    asked = given().but(task=TASK, batches=lambda: iter([batch(), batch()]))
    for head in model.heads.values():
        head.eval()
    masks = RandomEntries(400, "gradient").choose(model, asked)
    assert sum(int(mask.sum()) for mask in masks.values()) == 400
    assert all(p.grad is None and p.requires_grad for p in base_parameters(model).values())
    seen = batch()
    answer = model.heads["task"](model.bodies["input"](seen.streams["input"]), seen)
    torch.nn.functional.cross_entropy(answer, seen.fields["label"]).backward()
    slopes = {
        n: torch.zeros_like(p) if p.grad is None else p.grad.abs()
        for n, p in candidates(model).items()
    }
    least = min(float(slopes[n][mask].min()) for n, mask in masks.items())
    rest = [slopes[n][~masks[n]] if n in masks else slope.flatten() for n, slope in slopes.items()]
    assert least >= max(float(part.max()) for part in rest if part.numel()) * (1 - 1e-4)


def test_by_gradient_it_needs_batches() -> None:
    with pytest.raises(ValueError, match=r"by 'gradient' needs labelled batches, a task and its"):
        attach(RandomEntries(10, "gradient"), base(), Given(rng=torch.Generator()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomTensors(0), r"RandomTensors\.budget must be at least 1; got 0"),
        (lambda: RandomTensors(unit="x"), r"RandomTensors\.unit must be 'tensor' or 'module'; got"),
        (lambda: RandomEntries(0), r"RandomEntries\.budget must be at least 1; got 0"),
        (lambda: RandomEntries(batches=0), r"RandomEntries\.batches must be at least 1; got 0"),
        (lambda: RandomEntries(by="x"), r"RandomEntries\.by must be one of uniform, .* got 'x'"),
    ],
)
def test_fields_that_do_not_fit(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
