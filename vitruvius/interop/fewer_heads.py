"""Attentions of transformers' models without some of their heads.

Source: Michel, Levy & Neubig 2019, "Are sixteen heads really better than one?", arXiv:1905.10650,
section 2. The maps of an attention are found by the calls of a small pass, its heads from their
width; whether it then computes the same without some of them is tried, since classes differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Stream
from vitruvius.techniques.adapters.structure import layers_of
from vitruvius.techniques.compressors.heads import Heads, cut, heads_of
from vitruvius.train.placing import FUSED, KEY, OUT, QUERY, VALUE, Placed, head_width, placed
from vitruvius.train.watching import streams, watch

NEAR, NEAR_IN_HALF = 1e-5, 2e-2


def attentions(body: nn.Module) -> dict[str, Heads]:
    """By path of the attention. Raises ValueError where the heads of one are not known."""
    modules, seen = dict(body.named_modules()), watch(body)
    paths = {module: path for path, module in modules.items()}
    found: dict[str, Heads] = {}
    for layer in layers_of(body):
        for part in placed(layer, modules, seen):
            if part.kind == "attention":
                found[paths[_holder(body, part)]] = _heads(body, part, paths)
    if not found:
        raise ValueError(
            f"PruneHeads finds no attention in the layers of {_name(body)}. Take PruneWeights."
        )
    return found


def without(body: Any, stays: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Leave these heads alone in it; what stays of each tensor, and along which axis.

    Raises ValueError where it does not compute what it did with zeros in their columns of the maps
    back; it is then spoilt.
    """
    found = attentions(body)
    stream = _some(body)
    with _in_evaluation(body):
        expected = _masked(body, found, stays, stream)
        kept: dict[str, Tensor] = {}
        axes: dict[str, int] = {}
        for path, heads in found.items():
            one, axis = cut(body, heads, stays[path])
            kept |= one
            axes |= axis
            left = len(stays[path])
            told = {"heads": left * heads.each, "key_heads": left * heads.key_heads or 1}
            tell(body.get_submodule(path), **told)
            maps = {name: list(body.get_submodule(name).weight.shape) for name in heads.places}
            body.thinned[path] = {**told, "maps": maps}
        try:
            now = body(stream).hidden
        except Exception as error:  # whatever it raises: it expects the heads that it had
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"PruneHeads cannot take heads from {_name(body)}, which expects all: {line:.80}. "
                "Take PruneWeights."
            ) from error
    whole = expected.dtype in (torch.float32, torch.float64)
    most = (NEAR if whole else NEAR_IN_HALF) * max(1.0, float(expected.abs().max()))
    apart = float((now - expected).abs().max())
    if not apart <= most:
        raise ValueError(
            f"PruneHeads takes heads only where all else stays the same; {_name(body)} then "
            f"answers {apart:.1e} off: its heads do not lie one after the other. "
            "Take PruneWeights."
        )
    return kept, axes


def thin(body: Any, thinned: Mapping[str, Mapping[str, Any]]) -> None:
    """Give a body that was built with all heads the shapes of one that has lost some."""
    body.thinned = {path: dict(told) for path, told in thinned.items()}
    for path, told in thinned.items():
        tell(body.get_submodule(path), told["heads"], told["key_heads"])
        for name, (out, into) in told["maps"].items():
            linear: Any = body.get_submodule(name)
            linear.out_features, linear.in_features = out, into
            linear.weight = nn.Parameter(linear.weight.new_empty(out, into))
            if linear.bias is not None:
                linear.bias = nn.Parameter(linear.bias.new_empty(out))


def tell(module: Any, heads: int, key_heads: int) -> None:
    """Set what an attention module of transformers says of its heads, where it says so."""
    for name, value in (
        ("num_attention_heads", heads),
        ("num_heads", heads),
        ("num_key_value_heads", key_heads),
        ("num_key_value_groups", heads // key_heads),
        ("all_head_size", heads * getattr(module, "attention_head_size", 0)),
    ):
        if isinstance(getattr(module, name, None), int):
            setattr(module, name, value)


def _heads(body: nn.Module, part: Placed, paths: Mapping[nn.Module, str]) -> Heads:
    by_place = {place: module for module, place in part.places.items()}
    one: Any = by_place.get(FUSED)
    maps: list[Any] = [by_place.get(place, one) for place in (QUERY, KEY, VALUE)]
    out, holder = part.exit, _holder(body, part)
    width = head_width(body, part)
    if None in maps or not width or by_place.get(OUT) is not out:
        raise ValueError(
            f"PruneHeads needs the maps to queries, keys, values and back, and how wide a head is; "
            f"{paths[holder]} does not tell them. Take PruneWeights."
        )
    heads = out.in_features // width
    rest = one.out_features - out.in_features if one is not None else 2 * maps[1].out_features
    key_heads = rest // (2 * width)
    widths = (heads + 2 * key_heads) * width
    given = one.out_features if one is not None else sum(m.out_features for m in maps)
    if not heads or not key_heads or heads % key_heads or widths != given:
        raise ValueError(
            f"PruneHeads needs heads of one width, as many for each key and value; "
            f"{paths[holder]} has {given} rows for {heads} heads of {width}. Take PruneWeights."
        )
    query, key, value = (paths[m] for m in maps)
    return heads_of((query, key, value, paths[out]), heads, key_heads, width)


def _holder(body: nn.Module, part: Placed) -> nn.Module:
    """The module that maps to queries, and attends."""
    return next(one for one in body.modules() if part.entry in one._modules.values())


def _some(body: nn.Module) -> Stream:
    """A small stream in which no two tokens are alike."""
    stream = next(iter(streams(body)))
    values = stream.values
    rng = torch.Generator().manual_seed(0)
    if values.is_floating_point():
        drawn = torch.randn(values.shape, generator=rng).to(values)
        return replace(stream, values=drawn)
    network: Any = body.get_submodule("network")
    room = network.get_input_embeddings().num_embeddings
    drawn = torch.randint(room, values.shape, generator=rng).to(values)
    return replace(stream, values=drawn)


@torch.no_grad()
def _masked(
    body: Any, found: Mapping[str, Heads], stays: Mapping[str, Tensor], stream: Stream
) -> Tensor:
    """What it gives with zeros in the columns of the maps back that are to go."""
    before: list[tuple[Tensor, Tensor]] = []
    for path, heads in found.items():
        weight, table = body.get_submodule(heads.out).weight, heads.places[heads.out]
        gone = torch.ones(heads.count, dtype=torch.bool)
        gone[stays[path].cpu()] = False
        before.append((weight, weight.detach().clone()))
        weight[:, table[gone].flatten().to(weight.device)] = 0
    hidden = body(stream).hidden
    for weight, was in before:
        weight.copy_(was)
    return hidden


@contextmanager
def _in_evaluation(body: nn.Module) -> Iterator[None]:
    modes: Sequence[tuple[nn.Module, bool]] = [(part, part.training) for part in body.modules()]
    body.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def _name(body: nn.Module) -> str:
    return type(body.get_submodule("network")).__name__
