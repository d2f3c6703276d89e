"""Rows made by a network: the formula, the count, and what it cannot make."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.bases import base, given
from vitruvius.contracts import Wanted
from vitruvius.techniques.adapters import LowRank, Prompts
from vitruvius.techniques.sources import Reparametrised
from vitruvius.train.adapting import attach

WANTS = {
    "a": {name: Wanted(torch.Size((3, 4)), "normal") for name in ("key", "value")},
    "b": {"key": Wanted(torch.Size((3, 2)), "normal")},
}


def test_rows_are_the_outputs_of_the_network() -> None:
    source = Reparametrised(5, 6)
    made = source.tensors(WANTS, {}, given())
    t = dict(made.named_parameters())
    rows = (t["rows"] @ t["down"].T + t["down_bias"]).tanh() @ t["up"].T + t["up_bias"]
    found = made(None)
    joined = torch.cat((found["a"]["key"], found["a"]["value"], found["b"]["key"]), 1)
    torch.testing.assert_close(joined, rows)
    assert sum(p.numel() for p in made.parameters()) == source.count(WANTS, {})


def test_the_same_seed_gives_the_same_rows() -> None:
    one, two, other = (Reparametrised().tensors(WANTS, {}, given(s))(None) for s in (0, 0, 1))
    assert torch.equal(one["b"]["key"], two["b"]["key"])
    assert not torch.equal(one["b"]["key"], other["b"]["key"])


def test_it_makes_tokens_too() -> None:
    adapted = attach(Prompts(3, source=Reparametrised(5, 6)), base("ours"), given())
    assert adapted.count == 3 * 5 + 6 * 6 + 7 * 2 * 64


def test_what_must_start_at_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"equally many rows that start at random.* Take Free"):
        attach(LowRank(source=Reparametrised()), base("ours"), given())
    with pytest.raises(ValueError, match=r"Reparametrised\.hidden must be at least 1; got 0"):
        Reparametrised(hidden=0)
