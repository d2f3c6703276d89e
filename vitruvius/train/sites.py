"""The places of a model where it can be changed, found by how it is built and by what it does.

Which linear maps are an attention and which a feed-forward is seen in one small pass: maps that
read the same tensor belong together, and between those of an attention the tokens are mixed. Names
decide only which of several that read the same is the query or the gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from vitruvius.contracts import Model, Site, Sites
from vitruvius.contracts.adapters import SiteKind
from vitruvius.techniques.adapters.structure import embeds, layers_of
from vitruvius.train.placing import FUSED, KEY, QUERY, VALUE, Placed, head_width, placed
from vitruvius.train.watching import Watched, watch

IN_ONE = frozenset((QUERY, KEY, VALUE))
KINDS: tuple[SiteKind, ...] = get_args(SiteKind)
CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


@dataclass(frozen=True, eq=False)
class Located:
    """A site with the modules it stands for."""

    site: Site
    body: nn.Module
    module: nn.Module
    """That the path of the site names."""
    entry: nn.Module
    """The first tensor given to it is the input of the site."""
    exit: nn.Module
    """What it returns is the output of the site; the first of it, where that is a tuple."""


def locate(model: Model) -> tuple[Located, ...]:
    """All sites of all bodies, each module once, in the order in which a body holds them.

    ``path`` is written as in ``base_parameters``; path and kind together are of one site alone.
    ``depth`` is the number of the layer, -1 before the layers and in bodies without any, the number
    of layers after them. ``sizes`` are shapes of a module's own parameters, and [width] of "input"
    and "output": of convolutions the channels, of tables the number of rows and what is in one.

    A linear map in a layer has the place "attention.query", "attention.key", "attention.value",
    "attention.query_key_value" (all three in one map), "attention.out", "ffn.up" (also with the
    gate in one map), "ffn.gate" or "ffn.down"; everything else has its kind again.

    An attention begins at its query and ends at its out map, a feed-forward at the first of its
    maps that is called and at its down map. Their path is that of the module that makes this output
    of this input and holds no other linear maps; where there is none, as in BERT, it is that of the
    out or the down map. In ``sizes`` they have "input" and "output" alone; an attention also "key",
    and "heads", how many of which width, where it says so.
    A layer, and all else, begins and ends at itself. The output is the module whose result the body
    returns.

    Left out are the parts that a body names as ``unread``, and the map in torch's own
    MultiheadAttention, which is read and never called. A body of images or numbers that says
    nothing of its shape, and that no small stream fits, has no attention, feed-forward or output.
    """
    found: list[Located] = []
    seen: set[tuple[int, str]] = set()
    for tower, body in model.bodies.items():
        for one in _of_body(tower, body):
            key = (id(one.module), one.site.kind)
            if key not in seen:
                seen.add(key)
                found.append(one)
    return tuple(found)


def chosen(sites: Sites, found: Sequence[Located]) -> tuple[Located, ...]:
    """Those of ``locate(model)`` that are meant. One map for queries, keys and values is meant by
    the place of each.

    A layer i of L is meant by the share s of the depth where round(s (L - 1)) = i. Raises
    ValueError, with what there is, where a name or the whole choice means no site.
    """
    for field, given, there in (
        ("kinds", sites.kinds, [one.site.kind for one in found]),
        ("places", sites.places, [one.site.place for one in found]),
        ("towers", sites.towers, [one.site.tower for one in found]),
    ):
        for name in given:
            if name not in there and not (name in IN_ONE and FUSED in there):
                raise ValueError(
                    f"Sites.{field} names {name!r}, a site that does not exist in this model. "
                    f"There is {_listed(there)}."
                )
    for share in sites.depths:
        if not 0 <= share <= 1:
            raise ValueError(
                f"Sites.depths must be shares from 0, the first layer, to 1, the last; got {share}."
            )
    layers: dict[str, int] = {}
    for one in found:
        if one.site.kind == "layer":
            layers[one.site.tower] = layers.get(one.site.tower, 0) + 1
    kept = tuple(
        one
        for one in found
        if (not sites.kinds or one.site.kind in sites.kinds)
        and (not sites.places or _meant(one.site.place, sites.places))
        and (not sites.towers or one.site.tower in sites.towers)
        and (not sites.depths or _at(one.site, sites.depths, layers.get(one.site.tower, 0)))
    )
    if not kept:
        of_kind = [o.site for o in found if not sites.kinds or o.site.kind in sites.kinds]
        raise ValueError(
            f"{sites!r} means a site that does not exist in this model. Of these kinds there is "
            f"{_listed([f'{s.place} of {s.tower}' for s in of_kind])}; "
            f"layers: {sum(layers.values())}."
        )
    return kept


def _meant(place: str, places: Sequence[str]) -> bool:
    """One map for queries, keys and values is meant by each of the three."""
    return place in places or (place == FUSED and not IN_ONE.isdisjoint(places))


def _at(site: Site, shares: Sequence[float], layers: int) -> bool:
    inside = 0 <= site.depth < layers
    return inside and any(round(share * (layers - 1)) == site.depth for share in shares)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "none"


def _of_body(tower: str, body: nn.Module) -> Iterator[Located]:
    seen = watch(body)
    modules = dict(body.named_modules())
    paths = {part: path for path, part in modules.items()}
    layers = layers_of(body)
    depths = _depths(modules, layers, seen)
    parts = [part for path in layers for part in placed(path, modules, seen)]
    places = {module: place for part in parts for module, place in part.places.items()}
    unread = tuple(getattr(body, "unread", ()))
    sealed = tuple(
        f"{p}." for p, part in modules.items() if isinstance(part, nn.MultiheadAttention)
    )
    last = _last(seen)

    def located(path: str, kind: SiteKind, part: Placed | None = None) -> Located:
        module = modules[path]
        entry, exit_ = (module, module) if part is None else (part.entry, part.exit)
        sizes = {} if part is not None else _own(module)
        before, after = _widths(module, kind, seen) if part is None else _between(part)
        sizes |= {"input": torch.Size([before]), "output": torch.Size([after])}
        if part is not None and (keys := _keys(part)):
            sizes["key"] = torch.Size([keys])
        if part is not None and part.kind == "attention" and (width := head_width(body, part)):
            sizes["heads"] = torch.Size([part.exit.in_features // width, width])
        depth = len(layers) if kind == "output" else depths[path]
        place = places.get(module, kind) if kind == "linear" else kind
        name = f"{tower}.{path}" if path else tower
        return Located(Site(name, kind, place, depth, tower, sizes), body, module, entry, exit_)

    for path, module in modules.items():
        if f"{path}.".startswith((*unread, *sealed)):
            continue
        if path in layers:
            yield located(path, "layer")
        for part in parts:
            if part.path == path:
                yield located(path, part.kind, part)
        kind = _kind(module)
        if kind is not None:
            yield located(path, kind)
        if last is not None and paths[last] == path:
            yield located(path, "output")


def _kind(module: nn.Module) -> SiteKind | None:
    """What a module is by itself; None where it only holds others or has no parameters."""
    own = {name: p for name, p in module._parameters.items() if p is not None}
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, CONVOLUTIONS):
        return "convolution"
    if any(embeds(module, name) for name in own):
        return "embedding"
    if isinstance(module, nn.LayerNorm) and own:
        return "norm"
    flat = all(p.dim() == 1 for p in own.values()) and set(own) <= {"weight", "bias"}
    holds = any(True for child in module.children() for _ in child.parameters())
    if "weight" in own and flat and not holds and not isinstance(module, nn.PReLU):
        return "norm"
    return None


def _depths(modules: dict[str, nn.Module], layers: Any, seen: Watched) -> dict[str, int]:
    """Of every path; what is called after the first layer and is in none comes after all."""
    if not layers:
        return dict.fromkeys(modules, -1)
    order = {module: number for number, module in enumerate(seen.calls or modules.values())}
    numbers = {path: number for number, path in enumerate(layers)}
    begin = min((order[layer] for layer in layers.values() if layer in order), default=0)
    found: dict[str, int] = {}
    for path, module in modules.items():
        inside = [n for p, n in numbers.items() if f"{path}.".startswith(f"{p}.")]
        after = order.get(module, -1) > begin
        found[path] = inside[0] if inside else len(layers) if after else -1
    return found


def _last(seen: Watched) -> nn.Module | None:
    """The innermost module of those that gave what the body gives."""
    if seen.hidden is None:
        return None
    gave = [module for module, call in seen.calls.items() if call.last is seen.hidden]
    return gave[-1] if gave else None


def _own(module: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in module._parameters.items() if p is not None}


def _between(part: Placed) -> tuple[int, int]:
    return part.entry.in_features, part.exit.out_features


def _keys(part: Placed) -> int:
    """Width of the keys of an attention, all heads; 0 where it is not known, or there is none."""
    for module, place in part.places.items():
        assert isinstance(module, nn.Linear)
        if place == KEY:
            return module.out_features
        if place == FUSED:
            return (module.out_features - part.exit.in_features) // 2
    return 0


def _widths(module: Any, kind: SiteKind, seen: Watched) -> tuple[int, int]:
    if kind == "linear":
        return module.in_features, module.out_features
    if kind == "convolution":
        return module.in_channels, module.out_channels
    if kind == "embedding":
        rows, width = next(iter(_own(module).values()))[-2:]
        return rows, width
    if kind == "norm":
        width = module._parameters["weight"].shape[-1]
        return width, width
    call = seen.calls.get(module)
    if call is None:
        return 0, 0
    return _width(call.reads), _width(call.gives)


def _width(x: Tensor | None) -> int:
    """Of [B d], [B T d] and of images [B C H W]; 0 where it is not known."""
    if x is None or x.dim() < 2:
        return 0
    return x.shape[1] if x.dim() > 3 else x.shape[-1]
