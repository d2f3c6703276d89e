"""A prefix is a gated bottleneck of softmax in each head: exactly, on our attention and BERT's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.bases import base, batch, given
from vitruvius.techniques.adapters import MAM, Prefix
from vitruvius.techniques.sources import Reparametrised
from vitruvius.train.adapting import attach
from vitruvius.train.sites import locate

HEADS = 4


def gated(query: Tensor, key: Tensor, value: Tensor, first: Tensor, second: Tensor, mask: Tensor):
    """(1 - l) h + l softmax(q K') V of each head, with l the prefix's share: [B heads T d]."""
    scale = query.shape[-1] ** -0.5
    own = (query @ key.mT * scale).masked_fill(~mask, -torch.inf)
    of_prefix = query @ first.mT * scale
    share = torch.cat((of_prefix, own), -1).softmax(-1)[..., : len(first[0])]
    gate = share.sum(-1, keepdim=True)
    return (1 - gate) * (own.softmax(-1) @ value) + gate * (of_prefix.softmax(-1) @ second)


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_it_is_the_gated_form(kind: str) -> None:
    model = base(kind)
    model.bodies["input"].double()
    found = [one for one in locate(model) if one.site.depth == 1]
    maps = {one.site.place: one.module for one in found}
    at = next(one.site.path for one in found if one.site.kind == "attention").replace(".", "/")
    adapted = attach(Prefix(5, scale=1.0), model, given())
    adapted.model.bodies["input"].double()
    seen: dict[str, Tensor] = {}
    hooks = []
    for name in ("query", "key", "value"):
        module = maps[f"attention.{name}"]
        hooks.append(module.register_forward_hook(_note(seen, name)))
    out = maps["attention.out"]
    hooks.append(out.register_forward_pre_hook(lambda m, args: seen.update(out=args[0])))
    stream = batch().streams["input"]
    model.bodies["input"].eval()
    with torch.no_grad():
        model.bodies["input"](stream)
    saved = adapted.save()[0].tensors
    first, second = (
        by_head(saved[next(n for n in saved if n.endswith(f"{at}/{name}"))][None])[0]
        for name in ("key", "value")
    )
    query, key, value = (by_head(seen[name]) for name in ("query", "key", "value"))
    mask = (stream.layout.segments > 0)[:, None, None, :]
    mixed = gated(query, key, value, first, second, mask).transpose(1, 2).flatten(2)
    present = stream.layout.segments > 0
    assert mixed.dtype == torch.float64
    assert (mixed - seen["out"])[present].abs().max() < 1e-12


def by_head(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def _note(seen: dict[str, Tensor], name: str) -> Any:
    def noted(module: Any, inputs: Any, output: Tensor) -> None:
        seen[name] = output

    return noted


@pytest.mark.parametrize("kind", ["ours", "bert"])
def test_numbers_are_counted_exactly(kind: str) -> None:
    assert attach(Prefix(4), base(kind), given()).count == 2 * 2 * 4 * 64


def test_a_network_may_make_it() -> None:
    source = Reparametrised(8, 16)
    adapted = attach(Prefix(4, source=source), base("ours"), given())
    assert adapted.count == 4 * 8 + 9 * 16 + 17 * 4 * 64
    both = attach(MAM(4, 8, keys=source), base("ours"), given())
    assert both.count == adapted.count + 2 * (2 * 64 * 8 + 8 + 64)


def test_no_keys_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Prefix\.length must be at least 1; got 0\..*Probe"):
        Prefix(0)
