"""Polyhistor: one network writes the bottlenecks of all layers for each task."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.bases import base, batch, given
from vitruvius.contracts import Adapted, Model, Stream
from vitruvius.techniques.adapters import Polyhistor, PolyhistorLite
from vitruvius.techniques.sources.generators import Generators
from vitruvius.train.adapting import attach

BOTH = pytest.mark.parametrize("cls", [Polyhistor, PolyhistorLite])
KIND = type[Polyhistor] | type[PolyhistorLite]


def hidden(model: Model, route: list[int] | None) -> Tensor:
    """Of the three texts of the batch, of these tasks."""
    stream = batch().streams["input"]
    tasks = None if route is None else torch.tensor(route)
    layout = dataclasses.replace(stream.layout, route=tasks)
    return model.bodies["input"](Stream(stream.values, layout)).hidden


def made(cls: KIND, tasks: int = 4) -> tuple[Adapted, Any]:
    adapted = attach(cls(tasks, 8, 8, rank=2), base("ours"), given())
    body: Any = adapted.model.bodies["input"]
    return adapted, body.adapter["0"]


def stirred(source: Generators) -> None:
    with torch.no_grad():
        for number, parameter in enumerate(source.parameters()):
            rng = torch.Generator().manual_seed(number)
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))


@BOTH
def test_every_task_starts_as_the_base(cls: KIND) -> None:
    adapted, _ = made(cls)
    before = hidden(base("ours"), None)
    for route in ([0, 0, 0], [3, 1, 2]):
        assert torch.equal(hidden(adapted.model, route), before)


@BOTH
def test_a_row_has_the_bottlenecks_of_its_task(cls: KIND) -> None:
    adapted, part = made(cls)
    stirred(part.source)
    mixed = hidden(adapted.model, [3, 1, 3])
    for row, task in enumerate((3, 1, 3)):
        alone = hidden(adapted.model, [task] * 3)
        torch.testing.assert_close(mixed[row], alone[row], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(hidden(adapted.model, [0] * 3), hidden(adapted.model, [1] * 3))


@BOTH
def test_a_task_trains_its_embedding_and_what_is_shared(cls: KIND) -> None:
    adapted, part = made(cls)
    stirred(part.source)
    hidden(adapted.model, [2, 2, 2]).square().sum().backward()
    grads = {name: p.grad for name, p in part.source.named_parameters()}
    tasks = grads.pop("tasks")
    assert tasks[2].any() and not tasks[[0, 1, 3]].any()
    assert all(grad is not None and grad.any() for grad in grads.values())


@BOTH
def test_once_written_the_network_can_go(cls: KIND) -> None:
    adapted, part = made(cls)
    stirred(part.source)
    before = hidden(adapted.model, [3, 0, 2])
    part.source = part.source.bake()
    assert not any(p.requires_grad for p in part.parameters())
    torch.testing.assert_close(hidden(adapted.model, [3, 0, 2]), before, rtol=1e-6, atol=1e-6)


def test_the_numbers_of_both() -> None:
    """Of 2 layers with attention and feed-forward, 64 wide, bottlenecks of 8, rank 2, 4 tasks."""
    k, n, d, r = 8, 8, 64, 2
    written = 2 * k * r * (n + d) + k * (n + d)  # down and up, and their biases
    full, _ = made(Polyhistor)
    assert full.count == 4 * k + 4 * k + 2 * written  # tasks, sites, and one for each place
    lite, _ = made(PolyhistorLite)
    kernels = 4 * 4  # of 1 x 1, for each of four tensors at four sites
    assert lite.count == 4 * k + written + kernels


@BOTH
def test_what_does_not_fit_is_refused(cls: KIND) -> None:
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.ratio must be at most .* got 128 for"):
        attach(cls(ratio=128), base("ours"), given())
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.ratio must be at least 1; got 0\."):
        cls(ratio=0)
    with pytest.raises(ValueError, match=r"Generated\.tasks must be at least 1; got 0\."):
        cls(tasks=0)
    adapted, _ = made(cls)
    with pytest.raises(ValueError, match=r"Tensors of 4 tasks need Layout\.route"):
        hidden(adapted.model, None)
