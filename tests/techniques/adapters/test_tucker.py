"""Tucker: the product by hand, factored passes, counts, ranks of what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.bases import answers, base, given, train
from tests.contracts.tasks import Through
from tests.contracts.test_storing import through
from vitruvius.contracts import Lineage, Model, Site, Sites, Stream, Tensors
from vitruvius.techniques.adapters import LowRank, Tucker
from vitruvius.techniques.adapters.tucker import CONVOLUTIONS, product
from vitruvius.techniques.compressors import PruneWeights
from vitruvius.techniques.sources import Generated, Loaded, Projected
from vitruvius.train.adapting import attach
from vitruvius.train.sites import locate

EINSUMS = {2: "ab,oa,ib->oi", 4: "abcd,oa,ib,kc,ld->oikl", 5: "abcde,oa,ib,kc,ld,me->oiklm"}
MODULES: dict[str, Any] = {
    "linear": lambda: nn.Linear(6, 8),
    "conv1d": lambda: nn.Conv1d(6, 8, 3, stride=2, padding=1),
    "conv2d": lambda: nn.Conv2d(6, 8, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
    "same": lambda: nn.Conv2d(6, 8, 3, padding="same"),
    "circular": lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular"),
    "conv3d": lambda: nn.Conv3d(6, 8, (2, 3, 2), padding=1),
    "grouped": lambda: nn.Conv2d(6, 8, 3, groups=2, padding=1),
    "depthwise": lambda: nn.Conv2d(6, 12, 3, groups=6, padding=1),
    "pointwise": lambda: nn.Conv2d(6, 8, 1),
    "transposed": lambda: nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1),
}
ADAPTERS = {
    kind: Tucker(3, 2, scale=0.5, sites=Sites() if kind == "linear" else CONVOLUTIONS)
    for kind in MODULES
}
modules = pytest.mark.parametrize("kind", MODULES)


def model_of(kind: str) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Model({"input": Through(nn.Sequential(MODULES[kind]()))}, {}, Lineage("x"))


def numbers(*size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(1))


def read(kind: str) -> Tensor:
    if kind == "linear":
        return numbers(2, 5, 6)
    return numbers(2, 6, *[7, 6, 5][: 1 if kind == "conv1d" else 3 if kind == "conv3d" else 2])


def site_of(kind: str) -> Site:
    return next(s.site for s in locate(model_of(kind)) if s.site.kind in ("linear", "convolution"))


def filled(kind: str) -> Tensors:
    """Tensors of a site, none of them zero."""
    wants = ADAPTERS[kind].wants(site_of(kind))
    return {name: numbers(*wanted.size) for name, wanted in wants.items()}


@pytest.mark.parametrize("axes", EINSUMS)
def test_the_product_is_that_of_einsum(axes: int) -> None:
    sizes, ranks = (8, 6, 3, 4, 2)[:axes], (3, 4, 2, 3, 1)[:axes]
    factors = [numbers(size, rank) for size, rank in zip(sizes, ranks, strict=True)]
    expected = torch.einsum(EINSUMS[axes], numbers(*ranks), *factors)
    torch.testing.assert_close(product(numbers(*ranks), factors), expected, rtol=1e-5, atol=1e-5)
    routed = product(numbers(2, *ranks), [torch.stack((one, 2 * one)) for one in factors])
    first = product(numbers(2, *ranks)[0], factors)
    torch.testing.assert_close(routed[0], first, rtol=1e-5, atol=1e-5)


@modules
def test_factor_by_factor_is_the_map_with_the_update(kind: str) -> None:
    model, x = model_of(kind), read(kind)
    body: Any = model.bodies["input"]
    module = body.network[0]
    before, plain = x.clone(), module(x)
    adapted = attach(ADAPTERS[kind], model, given())
    assert torch.equal(body(Stream(x)).hidden, plain) and torch.equal(x, before)
    tensors = filled(kind)
    with torch.no_grad():
        for name, held in body.adapter["0"].source(None)[site_of(kind).path].items():
            held.copy_(tensors[name])
    with torch.no_grad():
        found = body(Stream(x)).hidden
    delta = ADAPTERS[kind].delta(tensors, module.weight)
    factored = ADAPTERS[kind].forward(tensors, x, module)
    assert (factored is None) == (kind == "transposed")
    assert torch.equal(adapted.deltas()[f"{site_of(kind).path}.weight"], delta)
    adapted.merge()
    torch.testing.assert_close(module(x).detach(), found, rtol=1e-5, atol=1e-4)


@modules
def test_numbers_are_counted(kind: str) -> None:
    site = site_of(kind)
    ranks = ADAPTERS[kind].ranks(site)
    expected = torch.Size(ranks).numel()
    expected += sum(d * r for d, r in zip(site.sizes["weight"], ranks, strict=True))
    assert attach(ADAPTERS[kind], model_of(kind), given()).count == expected
    if kind == "depthwise":
        assert ranks == (3, 1, 2, 2)
    if kind == "pointwise":
        assert ranks == (3, 3, 1, 1)


@pytest.mark.parametrize("kind", ["linear", "conv2d", "conv3d"])
def test_what_was_trained_has_these_ranks(kind: str) -> None:
    model, x = model_of(kind), read(kind)
    adapted = attach(ADAPTERS[kind], model, given())
    body: Any = adapted.model.bodies["input"]
    optimizer = torch.optim.Adam([p for p in body.parameters() if p.requires_grad], 0.05)
    for _ in range(5):
        optimizer.zero_grad()
        body(Stream(x)).hidden.square().mean().backward()
        optimizer.step()
    (delta,) = adapted.deltas().values()
    assert delta.any()
    for axis, rank in enumerate(ADAPTERS[kind].ranks(site_of(kind))):
        unfolded = delta.movedim(axis, 0).flatten(1)
        assert torch.linalg.matrix_rank(unfolded.double(), rtol=1e-5) <= rank


def test_with_whole_ranks_any_update_is_reached() -> None:
    wanted = numbers(4, 3, 2, 2)
    factors = [torch.eye(size) for size in wanted.shape]
    torch.testing.assert_close(product(wanted, factors), wanted, rtol=0, atol=1e-6)


def test_of_a_matrix_with_the_identity_as_core_it_is_low_rank() -> None:
    module, x = nn.Linear(6, 8), numbers(2, 5, 6)
    a, b = numbers(3, 6), numbers(8, 3)
    mine = {"core": torch.eye(3), "factor_0": b, "factor_1": a.T}
    theirs = LowRank(3, alpha=1.5)
    delta = Tucker(3, scale=0.5).delta(mine, module.weight)
    torch.testing.assert_close(delta, theirs.delta({"a": a, "b": b}, module.weight))
    found, expected = (
        edit.forward(t, x, module)
        for edit, t in ((Tucker(3, scale=0.5), mine), (theirs, {"a": a, "b": b}))
    )
    torch.testing.assert_close(found, expected)


STARTED = pytest.mark.parametrize("start", ["hosvd", "core"])


@STARTED
@modules
def test_from_the_weight_it_starts_unchanged_and_is_undone(kind: str, start: str) -> None:
    model, x = model_of(kind), read(kind)
    body: Any = model.bodies["input"]
    module = body.network[0]
    before, plain = module.weight.detach().clone(), body(Stream(x)).hidden
    adapter = ADAPTERS[kind].replace(start=start)
    adapted = attach(adapter, model, given())
    assert adapter.identity and torch.equal(body(Stream(x)).hidden, plain)
    assert adapted.count == attach(ADAPTERS[kind], model_of(kind), given()).count
    optimizer = torch.optim.Adam([p for p in body.parameters() if p.requires_grad], 0.05)
    for _ in range(3):
        optimizer.zero_grad()
        body(Stream(x)).hidden.square().mean().backward()
        optimizer.step()
    found, (delta,) = body(Stream(x)).hidden.detach(), adapted.deltas().values()
    assert delta.any() and torch.equal(module.weight, before)
    adapted.merge(keep=True)
    torch.testing.assert_close(module(x).detach(), found, rtol=1e-5, atol=1e-4)
    adapted.unmerge()
    assert torch.equal(body(Stream(x)).hidden, found)
    saved = adapted.save()
    adapted.detach()
    assert torch.equal(module.weight, before) and torch.equal(body(Stream(x)).hidden, plain)
    again = attach(adapter, model, given())
    again.load(*saved)
    assert torch.equal(body(Stream(x)).hidden, found)


@STARTED
@modules
def test_it_starts_in_the_directions_of_the_weight(kind: str, start: str) -> None:
    model = model_of(kind)
    body: Any = model.bodies["input"]
    weight = body.network[0].weight.detach()
    adapter = ADAPTERS[kind].replace(start=start)
    t = adapter.fixed(weight, given().rng)
    drawn = ADAPTERS[kind].wants(site_of(kind))
    ranks = ADAPTERS[kind].ranks(site_of(kind))
    near = weight
    for axis, rank in enumerate(ranks):
        factor = t[f"start_factor_{axis}"]
        assert factor.shape == drawn[f"factor_{axis}"].size
        length = weight.shape[axis] / (3 * rank)  # of a column that is drawn, squared
        torch.testing.assert_close(factor.mT @ factor, length * torch.eye(rank))
        near = ((near.movedim(axis, -1) @ factor) @ factor.mT / length).movedim(-1, axis)
    assert ("start_core" in t) == (start == "core")
    if start == "core":
        factors = [t[f"start_factor_{axis}"] for axis in range(weight.ndim)]
        torch.testing.assert_close(adapter.scale * product(t["start_core"], factors), near)


def test_from_the_core_every_factor_gets_a_gradient_at_once() -> None:
    for start, at_once in (("kaiming", False), ("hosvd", False), ("core", True)):
        adapted = attach(Tucker(4, start=start), base("llama"), given())
        train(adapted.model, steps=1)
        body = adapted.model.bodies["input"]
        for name, parameter in body.named_parameters():
            if parameter.requires_grad and "factor" in name:
                assert parameter.grad is not None and bool(parameter.grad.any()) == at_once


@STARTED
@pytest.mark.parametrize("kind", ["ours", "bert", "modernbert"])
def test_from_the_weight_it_follows_stores_and_stays_near_in_half_precision(
    kind: str, start: str, tmp_path: Path
) -> None:
    model = base(kind)
    first = answers(model)
    adapted = attach(Tucker(4, start=start), model, given())
    assert torch.equal(answers(model), first)
    train(model)
    now = answers(model)
    with torch.autocast("cpu", torch.bfloat16):
        near = answers(model).float()
    assert (near - now).norm() <= 2e-2 * now.norm()
    assert torch.equal(answers(through(tmp_path, model)), now)
    with adapted.original():
        assert torch.equal(answers(model), first)
    made = PruneWeights(0.3).compress(base(kind), given())
    less = adapted.restrict(made.structure, made.model)
    for name, delta in less.deltas().items():
        wanted = adapted.deltas()[name] * made.structure.masks[name]
        torch.testing.assert_close(delta, wanted, rtol=1e-5, atol=1e-6)


def test_another_source_may_make_the_difference() -> None:
    for source in (Generated(embedding=4), Projected(20, structure="none")):
        model = base("bert")
        first = answers(model)
        adapted = attach(Tucker(4, start="core", source=source), model, given())
        assert torch.equal(answers(model), first)
        train(model)
        after = answers(model)
        assert not torch.equal(after, first)
        torch.testing.assert_close(answers(adapted.merge()), after, rtol=1e-5, atol=1e-5)
    assert not Tucker(source=Loaded()).identity


def test_the_core_gets_a_gradient_at_once_and_dropout_is_on_the_update_alone() -> None:
    adapted = attach(Tucker(4, dropout=0.5), base("llama"), given())
    train(adapted.model, steps=1)
    body = adapted.model.bodies["input"]
    cores = [p for name, p in body.named_parameters() if name.endswith("core")]
    assert cores and all(p.grad is not None and bool(p.grad.any()) for p in cores)
    train(adapted.model)
    assert not torch.equal(answers(adapted.model), answers(adapted.model, train=True))
    with adapted.original():
        assert torch.equal(answers(adapted.model, train=True), answers(base("llama")))


def test_ranks_larger_than_an_axis_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Tucker\.rank must be at most .* 7 for axis 1 of input\."
    ):
        attach(Tucker(7, sites=Sites()), model_of("linear"), given())
    with pytest.raises(ValueError, match=r"kernel_rank must be at most .* 3 for axis 3 .* has 2"):
        attach(Tucker(2, 3, sites=CONVOLUTIONS), model_of("conv2d"), given())
    assert all(p.requires_grad for p in model_of("conv2d").bodies["input"].parameters())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, r"Tucker\.rank must be at least 1; got 0\. For no update, take LinearProbe"),
        ({"kernel_rank": 0}, r"Tucker\.kernel_rank must be at least 1; got 0"),
        ({"scale": 0.0}, r"Tucker\.scale must be above 0; got 0\.0"),
        ({"dropout": 1.0}, r"Tucker\.dropout must be at least 0 and below 1; got 1\.0"),
        ({"start": "x"}, r"Tucker\.start must be one of kaiming, hosvd, core; got 'x'"),
        (
            {"start": "core", "dropout": 0.1},
            r"Tucker\.dropout must be 0 with start 'core', .* got 0\.1\. Take 'hosvd'",
        ),
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tucker(**fields)
