"""Second moments: by hand, of tokens in any order, and in the size that the formula says."""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest
import torch
from torch import Tensor

from tests.contracts.layouts import layout_of
from tests.contracts.tasks import CLASSES, NUMBER
from vitruvius.contracts import Batch, Outputs, Stream
from vitruvius.techniques.heads import Moments
from vitruvius.techniques.heads.moments import (
    DOWNS,
    FIRSTS,
    FUSES,
    NORMS,
    PAIRINGS,
    pairs,
    second_moments,
    smaller,
)

SMALL = Moments(4, 8)


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def batch(lengths: list[int]) -> Batch:
    layout = layout_of([[n] for n in lengths])
    return Batch({"input": Stream(layout.positions, layout)}, {}, torch.arange(len(lengths)))


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_matrices_are_sums_over_tokens(pairing: str, centred: bool) -> None:
    z, both = drawn(2, 6, 4, 3), pairs(4, pairing)
    present = torch.ones(2, 6, dtype=torch.bool)
    present[1, 4:] = False
    made = second_moments(z, present, both, centred)
    for row, length in enumerate((6, 4)):
        mean = z[row, :length].mean(0) if centred else torch.zeros(4, 3)
        for number, (i, j) in enumerate(both):
            total = torch.zeros(3, 3)
            for token in range(length):
                one, two = z[row, token, i] - mean[i], z[row, token, j] - mean[j]
                total += torch.outer(one, two)
            torch.testing.assert_close(made[row, number], total / length, rtol=1e-5, atol=1e-6)


def test_which_heads_are_paired() -> None:
    assert pairs(4, "near") == ((0, 1), (1, 2), (2, 3))
    assert pairs(4, "half") == ((0, 2), (1, 3))
    assert pairs(3, "all") == ((0, 1), (0, 2), (1, 2))
    assert pairs(2, "self") == ((0, 0), (1, 1))


def test_sides_after_the_convolutions_are_those_of_the_paper() -> None:
    assert smaller(128, "conv1") == 63 and smaller(128, "conv2") == 31
    head = Moments(4, 128).build(torch.zeros(2, 5, 16), CLASSES)
    assert head.two.in_features == 3 * 31 * 31 == 2883  # type: ignore[union-attr]


@pytest.mark.parametrize("down", DOWNS)
@pytest.mark.parametrize("width", [8, 11, 16, 32])
def test_features_are_as_many_as_the_formula_says(down: str, width: int) -> None:
    head = Moments(2, width, down=down).build(torch.zeros(2, 5, 16), CLASSES)
    found = head.second(drawn(2, 5, 16), torch.ones(2, 5, dtype=torch.bool))
    assert found.shape == (2, smaller(width, down) ** 2)


def test_numbers_are_counted_exactly() -> None:
    head = SMALL.build(torch.zeros(2, 5, 16), CLASSES)
    n = 3 * ((8 - 7) // 4 + 1) ** 2
    count = 17 * 32 + 2 * 8 + 18 * 9 + 17 * 3 + (n + 1) * 3
    assert sum(p.numel() for p in head.parameters()) == count


@pytest.mark.parametrize(("first", "fuse", "norm"), [*product(FIRSTS, FUSES, NORMS)])
def test_the_order_of_tokens_and_padding_change_nothing(first: str, fuse: str, norm: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        design = dataclasses.replace(SMALL, first=first, fuse=fuse, norm=norm)
        head = design.build(torch.zeros(2, 5, 16), CLASSES).eval()
    hidden = drawn(2, 7, 16)
    plain = head(Outputs(hidden), batch([7, 5]))
    turned = hidden[:, [0, 3, 1, 4, 2, 5, 6]]
    torch.testing.assert_close(head(Outputs(turned), batch([7, 5])), plain, rtol=1e-5, atol=1e-5)
    other = hidden.clone()
    other[1, 5:] = 1e3
    torch.testing.assert_close(head(Outputs(other), batch([7, 5])), plain)
    alone = head(Outputs(hidden[1:, :5]), batch([5]))
    torch.testing.assert_close(alone, plain[1:], rtol=1e-5, atol=1e-6)
    plain.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_it_takes_images_numbers_and_half_precision() -> None:
    head = SMALL.build(torch.zeros(2, 16, 3, 3), NUMBER)
    assert head(Outputs(drawn(2, 16, 3, 3))).shape == (2,)
    half = SMALL.build(torch.zeros(2, 5, 16), CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        near = half(Outputs(drawn(2, 50, 16))).float()
    exact = half(Outputs(drawn(2, 50, 16)))
    assert (near - exact).norm() < 5e-2 * exact.norm()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"first": "last"}, r"Moments\.first must be one of cls, mean, none; got 'last'\."),
        ({"pairing": "far"}, r"Moments\.pairing must be one of near, .*; got 'far'\."),
        ({"norm": "row"}, r"Moments\.norm must be one of column, .*; got 'row'\."),
        ({"down": "conv3"}, r"Moments\.down must be one of conv2, .*; got 'conv3'\."),
        ({"fuse": "max"}, r"Moments\.fuse must be one of mean, .*; got 'max'\."),
        ({"heads": 3, "pairing": "half"}, r"Moments\.heads must be at least 2, and even .* got 3"),
        ({"heads": 1}, r"Moments\.heads must be at least 2"),
        ({"head_width": 6}, r"Moments\.head_width must leave something after 'conv2'; got 6\."),
    ],
)
def test_what_it_refuses(fields, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Moments(**fields)
