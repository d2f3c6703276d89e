"""Tensors that stay as they were loaded, beside some that train."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.bases import base, given, train
from vitruvius.techniques.adapters import Bottleneck
from vitruvius.techniques.sources import Fixed
from vitruvius.train.adapting import attach

STAY = ("down", "down_bias")


def test_what_stays_does_not_train_and_the_rest_does() -> None:
    adapted = attach(Bottleneck(4), base("ours"), given())
    train(adapted.model)
    saved = adapted.save()[0]
    part = attach(Bottleneck(4, source=Fixed(STAY)), base("ours"), given(1).but(fitted=saved))
    assert part.count == adapted.count - 2 * (4 * 64 + 4)
    train(part.model)
    for name, tensor in part.save()[0].tensors.items():
        stays = name.rpartition("/")[2] in STAY
        assert torch.equal(tensor, saved.tensors[name]) == stays


def test_it_counts_what_trains() -> None:
    from vitruvius.train.sites import locate

    bottleneck = Bottleneck(4)
    sites = {o.site.path: o.site for o in locate(base("ours")) if o.site.kind == "ffn"}
    wants = {path: bottleneck.wants(site) for path, site in sites.items()}
    assert Fixed(STAY).count(wants, sites) == 2 * (64 * 4 + 64)


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match=r"Fixed\.stay must say which tensors stay; got none\."):
        Fixed()
    saved = attach(Bottleneck(4), base("ours"), given()).save()[0]
    asked = given().but(fitted=saved)
    with pytest.raises(ValueError, match=r"Fixed\.stay has 'left', which is wanted nowhere; there"):
        attach(Bottleneck(4, source=Fixed(("left",))), base("ours"), asked)
    with pytest.raises(ValueError, match=r"Fixed needs one saved tensor .* there are \[\[4, 64\]"):
        attach(Bottleneck(8, source=Fixed(("down",))), base("ours"), asked)
