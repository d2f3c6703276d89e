"""SimCLR and VICReg against plain formulas in numpy, and what their gradients do."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.contracts.tasks import image_batch, image_model, seeded
from vitruvius.contracts import Batch, Lineage, Model, Progress, Stream
from vitruvius.techniques.objectives import SimCLR, VICReg
from vitruvius.techniques.objectives.simclr import nt_xent
from vitruvius.techniques.objectives.vicreg import dullness, redundancy
from vitruvius.train.building import Body

NOW = Progress(0, 0, 12, 0.0)


def pair(items: int = 7, width: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(items, width, generator=rng), torch.randn(items, width, generator=rng)


def plain_nt_xent(one: np.ndarray, two: np.ndarray, temperature: float) -> np.ndarray:
    """Equation 1, item by item."""
    z = np.concatenate([one, two])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    count, losses = len(one), []
    for i in range(2 * count):
        other = (i + count) % (2 * count)
        total = sum(math.exp(z[i] @ z[k] / temperature) for k in range(2 * count) if k != i)
        losses.append(-math.log(math.exp(z[i] @ z[other] / temperature) / total))
    return np.array([(losses[i] + losses[i + count]) / 2 for i in range(count)])


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_nt_xent_is_the_papers(temperature: float) -> None:
    one, two = (x.double() for x in pair())
    by_hand = plain_nt_xent(one.numpy(), two.numpy(), temperature)
    np.testing.assert_allclose(nt_xent(one, two, temperature).numpy(), by_hand, rtol=1e-9)


def test_nt_xent_of_items_that_are_all_alike_is_the_log_of_their_number() -> None:
    same = torch.ones(6, 4)
    torch.testing.assert_close(nt_xent(same, same, 0.1), torch.full((6,), math.log(11)))


def test_nt_xent_does_not_know_the_length_of_an_embedding() -> None:
    one, two = pair()
    torch.testing.assert_close(nt_xent(3 * one, two / 7, 0.2), nt_xent(one, two, 0.2))


def test_variance_and_covariance_are_the_papers() -> None:
    z = torch.cat(pair(), 0).double() * torch.tensor([0.1, 0.5, 1.0, 1.5, 3.0])
    x = z.numpy()
    hinge = np.maximum(0, 1 - np.sqrt(x.var(0, ddof=1) + 1e-4)).mean()
    assert float(dullness(z)) == pytest.approx(hinge, rel=1e-9)
    covariance = np.cov(x, rowvar=False)
    off = (covariance**2).sum() - (np.diag(covariance) ** 2).sum()
    assert float(redundancy(z)) == pytest.approx(off / 5, rel=1e-9)


class Passing(nn.Module):
    """A projector that gives on what it gets."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_vicreg_weighs_its_terms_as_the_paper_does() -> None:
    one, two = pair(9, 4)
    model = Model({"input": Body(nn.Identity(), (4,))}, {}, Lineage(""))
    batch = Batch({"input": Stream(one), "view": Stream(two)}, {}, torch.arange(9))
    objective = VICReg(invariance=7.0, variance=5.0, covariance=3.0)
    parts: Any = nn.ModuleDict({"projector": Passing()})
    seen = replace(objective.corrupt(image_batch(2), NOW, seeded()), batch=batch)
    loss = objective.loss(model, parts, seen, NOW, seeded())
    x, y = one.double().numpy(), two.double().numpy()

    def v(z: np.ndarray) -> float:
        return float(np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean())

    def c(z: np.ndarray) -> float:
        found = np.cov(z, rowvar=False)
        return float(((found - np.diag(np.diag(found))) ** 2).sum() / 4)

    by_hand = 7 * ((x - y) ** 2).mean() + 5 * (v(x) + v(y)) + 3 * (c(x) + c(y))
    assert float(loss.value) == pytest.approx(by_hand, rel=1e-5)
    assert float(loss.parts["variance"]) == pytest.approx(v(x) + v(y), rel=1e-5)
    assert (VICReg().invariance, VICReg().variance, VICReg().covariance) == (25.0, 25.0, 1.0)


def test_vicreg_keeps_embeddings_from_collapsing() -> None:
    z = torch.full((8, 3), 0.3, requires_grad=True)
    moved = z + 1e-3 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    dullness(moved).backward()
    assert z.grad is not None
    spread = moved.detach() - moved.detach().mean(0)
    assert float((z.grad * spread).sum()) < 0  # a step against it drives the items apart


@pytest.mark.parametrize("objective", [SimCLR(), VICReg()])
def test_two_views_of_a_batch_differ_and_follow_from_the_step(objective: Any) -> None:
    batch = image_batch()
    made = [objective.corrupt(batch, NOW, seeded()).batch.streams for _ in range(2)]
    assert torch.equal(made[0]["input"].values, made[1]["input"].values)
    assert torch.equal(made[0]["view"].values, made[1]["view"].values)
    assert not torch.equal(made[0]["input"].values, made[0]["view"].values)


def test_views_may_also_be_passed_with_a_body_of_tokens() -> None:
    from vitruvius.techniques.layers import Attention, Block, Encoder, Patches
    from vitruvius.train.building import TokenBody

    design = Encoder(Patches(8, 4), (Block(Attention(2)),), positions=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = TokenBody(design.build(torch.zeros(2, 2, 8, 8)), (2, 8, 8))
    model = Model({"input": body.eval()}, {}, Lineage(""))
    for objective in (SimCLR(), VICReg()):
        parts = objective.build(model)
        assert not body.training
        loss = objective.step(model, parts, image_batch(), NOW, seeded())
        assert torch.isfinite(loss.value)


def test_a_projector_of_another_shape_is_not_used_again() -> None:
    model = image_model()
    kept = SimCLR().heads(SimCLR().build(model))
    later = replace(model, heads=kept)
    for other in (SimCLR(width=64), SimCLR(hidden=128), VICReg()):
        assert other.heads(other.build(later))["projector"] is not kept["projector"]


def test_a_body_that_names_no_shape_is_refused() -> None:
    model = Model({"input": Body(nn.Linear(3, 3))}, {}, Lineage(""))
    with pytest.raises(ValueError, match=r"SimCLR needs a network of items of one shape; a Body"):
        SimCLR().build(model)


def test_one_item_is_no_batch_for_vicreg() -> None:
    model, objective = image_model(), VICReg()
    parts = objective.build(model).eval()
    with pytest.raises(ValueError, match="VICReg needs batches of at least 2 items; got 1"):
        objective.step(model, parts, image_batch(1), NOW, seeded())


@pytest.mark.parametrize(
    ("cls", "field", "value"),
    [
        (SimCLR, "temperature", 0.0),
        (SimCLR, "hidden", 0),
        (SimCLR, "width", 0),
        (VICReg, "invariance", -1.0),
        (VICReg, "variance", -1.0),
        (VICReg, "covariance", -1.0),
        (VICReg, "hidden", 0),
        (VICReg, "width", -3),
    ],
)
def test_fields_out_of_range_are_refused(cls: Any, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.{field} must .* got {value}"):
        cls(**{field: value})
