"""Dropout with cheap random numbers: rate, scale, independence, gradients."""

from __future__ import annotations

import pytest
import torch

from vitruvius.techniques.layers.dropping import dropped


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_it_drops_at_the_rate_and_keeps_the_mean(kind: torch.dtype, rate: float) -> None:
    torch.manual_seed(0)
    found = dropped(torch.ones(1000, 999, dtype=kind), rate, True)
    gone = (found == 0).double().mean().item()
    assert abs(gone - rate) < 5 * (rate * (1 - rate) / found.numel()) ** 0.5 + 2**-16
    kept = found[found != 0].unique()
    assert len(kept) == 1
    torch.testing.assert_close(kept[0].double().item(), 1 / (1 - rate), rtol=0.005, atol=0.0)


def test_neighbours_are_independent() -> None:
    torch.manual_seed(0)
    gone = (dropped(torch.ones(2**20), 0.5, True) == 0).double()
    for step in (1, 2, 3, 4, 5):  # four numbers come out of one draw
        both = (gone[:-step] * gone[step:]).mean().item()
        assert abs(both - 0.25) < 0.003


def test_each_place_within_a_draw_has_the_same_rate() -> None:
    torch.manual_seed(0)
    gone = (dropped(torch.ones(2**20), 0.1, True) == 0).double().view(-1, 4).mean(0)
    torch.testing.assert_close(gone, torch.full((4,), 0.1).double(), atol=0.003, rtol=0.0)


def test_gradients_pass_where_numbers_stay() -> None:
    x = torch.randn(5, 7, requires_grad=True)
    y = dropped(x, 0.3, True)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), y.detach())


def test_it_is_the_identity_outside_of_training_and_follows_the_seed() -> None:
    x = torch.randn(3, 5)
    assert dropped(x, 0.5, False) is x
    assert dropped(x, 0.0, True) is x
    torch.manual_seed(3)
    first = dropped(x, 0.5, True)
    torch.manual_seed(3)
    assert torch.equal(first, dropped(x, 0.5, True))


def test_meta_tensors_and_empty_ones_pass() -> None:
    assert dropped(torch.empty(2, 3, device="meta"), 0.1, True).shape == (2, 3)
    assert dropped(torch.empty(0, 3), 0.1, True).shape == (0, 3)
