"""One network writes the tensors of all sites for all tasks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from vitruvius.contracts import Given, Site, Wanted, Wants
from vitruvius.techniques.sources import Generated
from vitruvius.techniques.sources.generators import Generators

ROUTE = torch.tensor([2, 0, 2, 2, 1, 0])
EVERY = [
    Generated(3, 8, decompose, 2, layers, kernels)
    for decompose in ("output", "generator", "none")
    for layers in ("kernels", "embeddings")
    for kernels in ("site", "size")
]
every = pytest.mark.parametrize("source", EVERY, ids=repr)


def stages(*widths: int) -> tuple[dict[str, Wants], dict[str, Site]]:
    """A bottleneck of an eighth in each layer, as a hierarchical network has them."""
    wants: dict[str, Wants] = {}
    sites = {}
    for depth, width in enumerate(widths):
        path = f"input.layers.{depth}.ffn"
        wants[path] = {
            "down": Wanted(torch.Size([width // 8, width]), "kaiming"),
            "up": Wanted(torch.Size([width, width // 8])),
            "bias": Wanted(torch.Size([width])),
            "scale": Wanted(torch.Size([]), "one"),
        }
        sites[path] = Site(path, "ffn", "ffn", depth, "input", {})
    return wants, sites


STAGES = stages(16, 16, 32, 64)


def made(source: Generated, stages: Any = STAGES, seed: int = 0) -> Generators:
    module = source.tensors(stages[0], stages[1], Given(rng=torch.Generator().manual_seed(seed)))
    assert isinstance(module, Generators)
    return module


def stirred(module: Generators) -> Generators:
    """As after some training: nothing is zero any more."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return module


def flat(found: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{path}.{name}": t for path, at in found.items() for name, t in at.items()}


@every
def test_what_is_to_be_zero_is_zero_for_all_tasks_and_the_rest_is_not(source: Generated) -> None:
    for name, tensor in flat(made(source)(ROUTE)).items():
        kind = name.rpartition(".")[2]
        assert bool(tensor.any()) == (kind in ("down", "scale")), name
        if kind == "scale":
            assert torch.equal(tensor, torch.ones(6))


@every
def test_numbers_are_counted_without_making_any(source: Generated) -> None:
    assert source.count(*STAGES) == sum(p.numel() for p in made(source).parameters())


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_depth_costs_its_kernels_alone(depth: int) -> None:
    source = Generated(3, 8, "output", 2)
    count = source.count(*stages(*(16,) * depth, *(64,) * depth))
    tasks, c = 3 * 8, 4
    down = up = 8 * 2 * (2 + 16)  # embedding x rank x (rows + columns) of the template
    bias, scale = 8 * 16, 8
    kernels = depth * (2 * (1 + c * c) + (1 + c) + (1 + 1))
    assert count == tasks + down + up + bias + scale + kernels


def test_one_kernel_for_a_size_is_a_matter_of_choice() -> None:
    source = Generated(3, 8, "output", 2, kernels="size")
    assert source.count(*stages(16, 32)) == source.count(*stages(16, 16, 32, 32, 32))


@every
def test_a_task_alone_is_the_rows_of_that_task(source: Generated) -> None:
    module = stirred(made(source))
    together = flat(module(ROUTE))
    few = flat(module(ROUTE[:2]))  # fewer rows than tasks: made for each row
    for task in range(3):
        for name, tensor in flat(module.of(task)).items():
            for row in torch.where(ROUTE.eq(task))[0].tolist():
                torch.testing.assert_close(together[name][row], tensor)
                if row < 2:
                    torch.testing.assert_close(few[name][row], tensor)


@every
def test_baked_tensors_need_no_network(source: Generated) -> None:
    module = stirred(made(source))
    before = flat(module(ROUTE))
    baked = module.bake()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(float("nan"))
    assert not list(baked.parameters())
    for name, tensor in flat(baked(ROUTE)).items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match=r"Tensors of 3 tasks need Layout\.route.* Give a route"):
        baked(None)


@every
def test_a_batch_of_one_task_trains_its_embedding_the_network_and_the_kernels(
    source: Generated,
) -> None:
    module = stirred(made(source))
    for route in (torch.tensor([1, 1]), torch.tensor([1, 1, 1, 1])):
        module.zero_grad()
        torch.cat([t.flatten() for t in flat(module(route)).values()]).square().sum().backward()
        grads = {name: p.grad for name, p in module.named_parameters()}
        tasks = grads.pop("tasks")
        assert tasks is not None and tasks[1].all()
        assert not tasks[[0, 2]].any()
        assert all(grad is not None and grad.any() for grad in grads.values())


def test_one_task_needs_no_route_and_has_no_axis_more() -> None:
    module = made(Generated(1))
    wants, _ = STAGES
    for path, at in module(None).items():
        for name, tensor in at.items():
            assert tensor.shape == wants[path][name].size
    baked = stirred(module).bake()
    for name, tensor in flat(baked(None)).items():
        assert torch.equal(tensor, flat(module(None))[name])


def test_the_first_layer_is_its_kernel_times_the_template() -> None:
    module = stirred(made(Generated(3, 8)))
    found = flat(module.of(1))
    narrow, wide = (found[f"input.layers.{layer}.ffn.down"] for layer in (0, 3))
    number = [f.members[0][1] for f in module.families].index("down")
    kernels = list(module.kernels[number].parameters())
    template = narrow / kernels[0]
    torch.testing.assert_close(wide, torch.kron(kernels[3], template))


@pytest.mark.parametrize("decompose", ["output", "generator", "none"])
@pytest.mark.parametrize("embedding", [4, 64])
def test_entries_start_as_large_as_they_are_wanted(decompose: Any, embedding: int) -> None:
    stage = stages(64)
    spreads = []
    for seed in range(20):
        module = made(Generated(1, embedding, decompose, 8), stage, seed)
        down = flat(module(None))["input.layers.0.ffn.down"]
        spreads.append(float(down.detach().square().mean()))
    mean = (sum(spreads) / len(spreads)) ** 0.5
    assert mean == pytest.approx((3 * 64) ** -0.5, rel=0.3)


def test_places_share_where_all_do() -> None:
    wants, sites = stages(16, 16)
    path = "input.layers.1.ffn"
    sites[path] = Site(path, "attention", "attention", 1, "input", {})
    apart, shared = (Generated(1, 8, share=share) for share in ("place", "all"))
    assert apart.count(wants, sites) > shared.count(wants, sites)
    assert shared.count(wants, sites) == shared.count(*stages(16, 16))


def test_tasks_need_a_route() -> None:
    with pytest.raises(ValueError, match=r"Tensors of 3 tasks need Layout\.route.*tasks=1"):
        made(EVERY[0])(None)


def test_kernels_need_multiples() -> None:
    with pytest.raises(ValueError, match=r"multiples of the smallest, \(2, 16\); .* is \(3, 24\)"):
        made(Generated(), stages(16, 24))
    made(Generated(layers="embeddings"), stages(16, 24))


@pytest.mark.parametrize("name", ["tasks", "embedding", "rank"])
def test_nothing_of_none(name: str) -> None:
    with pytest.raises(ValueError, match=rf"Generated\.{name} must be at least 1; got 0\."):
        Generated().replace(**{name: 0})


@pytest.mark.parametrize("name", ["decompose", "layers", "kernels", "share"])
def test_unknown_words_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"Generated\.{name} is one of \w+, .*; got 'other'\."):
        Generated().replace(**{name: "other"})
