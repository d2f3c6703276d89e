"""Random numbers of places, whatever stands beside them.

Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", section 4 (the
mixing function of SplitMix64), of a seed and coordinates instead of a counter.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitruvius.contracts import Batch, Given

GOLDEN, FIRST, SECOND = (
    n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
DIGITS = 53  # bits of a float64


def seed_of(given: Given) -> int:
    """The next seed of a step."""
    return int(torch.randint(2**62, (1,), generator=given.rng, device=given.rng.device))


def uniform(seed: int, *coordinates: Int[Tensor, ...]) -> Float[Tensor, ...]:
    """In [0, 1), float64, for each place: a function of the seed and the coordinates alone."""
    state = torch.full_like(coordinates[0], seed)
    for coordinate in coordinates:
        state = _mixed(state + (coordinate + 1) * GOLDEN)
    return _shifted(state, 64 - DIGITS).double() / 2.0**DIGITS


def of_places(seed: int, batch: Batch) -> Float[Tensor, "B T"]:
    """A number for each token, by item, document and position: padding and neighbours are free."""
    layout = batch.streams["input"].layout
    rows = batch.rows.to(layout.positions.device)[:, None].expand_as(layout.positions)
    return uniform(seed, rows, layout.segments, layout.positions)


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, with zeros from the left."""
    return (x >> bits) & (2 ** (64 - bits) - 1)
