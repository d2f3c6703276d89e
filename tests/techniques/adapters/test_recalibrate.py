"""Recalibration: the formula, the count, and the base at the start."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.bases import answers, base, given
from tests.contracts.layouts import layout_of
from vitruvius.techniques.adapters import Recalibrate
from vitruvius.train.adapting import attach


def test_it_scales_and_shifts() -> None:
    rng = torch.Generator().manual_seed(0)
    sizes = {"down": (2, 4), "scale": (5, 2), "shift": (5, 2)}
    t = {n: torch.randn(s, generator=rng) for n, s in sizes.items()}
    x, y = torch.randn(1, 3, 4, generator=rng), torch.randn(1, 3, 5, generator=rng)
    made, _ = Recalibrate(2).forward(t, x, y, layout_of([[3]]), None)
    u = (x @ t["down"].T).relu()
    torch.testing.assert_close(made, u @ t["shift"].T + (1 + u @ t["scale"].T) * y)


def test_zeros_change_nothing_and_others_do() -> None:
    for zero in (True, False):
        model = base("ours")
        before = answers(model)
        adapted = attach(Recalibrate(4, zero), model, given())
        assert Recalibrate(4, zero).identity == zero
        assert torch.equal(answers(model), before) == zero
        assert adapted.count == 2 * 4 * 3 * 64


def test_no_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Recalibrate\.width must be at least 1; got 0\. .*Probe"):
        Recalibrate(0)
