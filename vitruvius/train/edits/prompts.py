"""Tokens of their own among those of a document, for the layers alone.

Source: Jia et al. 2022, "Visual Prompt Tuning", arXiv:2203.12119, section 3.2 (shallow and deep).

Texts get slots in front of each document, before a body reads them, since masks are made from its
layout; what the slots hold is set where layers begin. Images get theirs after the patches, at the
first layer. What a body gives out has none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitruvius.contracts import Given, Layout, Outputs, Part, Stream
from vitruvius.train.edits.carrier import Made, SourceCarrier
from vitruvius.train.sites import Located

HIDDEN = "hidden_states"  # what other libraries call what a layer reads


class PromptsCarrier(SourceCarrier):
    """Hooks at a body, to make room and take it away, and at layers, to fill it."""

    def __init__(
        self,
        number: int,
        part: Part,
        found: Sequence[Located],
        given: Given,
        layers: Sequence[Located],
    ) -> None:
        """``layers`` are all that the bodies have."""
        super().__init__(number, part, found, given)
        self._layers = layers
        self._rooms: dict[nn.Module, _Room] = {}
        for one in self.found:
            if one.site.kind != "layer":
                raise ValueError(
                    f"{type(part.edit).__name__} puts tokens before layers; {one.site.path} is a "
                    f"site of kind {one.site.kind}. Give it sites of kind layer or attention."
                )
        counts = {w["tokens"].size[0] for w in map(part.edit.wants, (o.site for o in self.found))}
        if len(counts) > 1:
            raise ValueError(
                f"{type(part.edit).__name__} must put equally many tokens before each layer; got "
                f"{sorted(counts)}."
            )
        (self._count,) = counts

    def install(self) -> None:
        self._rooms = {body: _Room(self.made, self._count) for body in self._bodies}
        for body, room in self._rooms.items():
            self._hooks.append(body.register_forward_pre_hook(room.make, prepend=True))
        super().install()
        for body, room in self._rooms.items():
            self._hooks.append(body.register_forward_hook(room.clear, always_call=True))
            others = [o for o in self._layers if o.body is body and o not in self.found]
            for one in others:
                at = _Longer(self.made, room)
                self._hooks.append(one.module.register_forward_pre_hook(at.before))

    def hook(self, one: Located) -> Sequence[RemovableHandle]:
        at = _Filled(self.made, self._rooms[one.body], one.site.path)
        return [one.module.register_forward_pre_hook(at.before, with_kwargs=True)]

    def unmergeable(self) -> str | None:
        return "tokens that no document has are no weights of the base"


class _Room:
    """Room for ``count`` slots in the rows that one body reads."""

    def __init__(self, made: Made, count: int) -> None:
        self.made, self.count = made, count
        self.within = 0  # passes that have begun: a body may read rows taken apart inside of one
        self.places: Tensor | None = None
        self.patches: int | None = None

    def make(self, body: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Slots in front of each document; nothing for images."""
        stream: Stream = inputs[0]
        self.within += 1
        if not self.made.shown or self.within > 1 or stream.values.is_floating_point():
            return None
        stream, self.places = with_slots(stream, self.count)
        return (stream, *inputs[1:])

    def clear(self, body: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> Outputs | None:
        """The outputs at the tokens alone; after an error nothing but the counts."""
        self.within -= 1
        if self.within:
            return None
        places, patches = self.places, self.patches
        self.places, self.patches = None, None
        if not isinstance(outputs, Outputs):
            return None
        if places is not None:
            rows = torch.arange(len(places), device=places.device)[:, None]
            return _each(outputs, lambda x: x[rows, places])
        return None if patches is None else _each(outputs, lambda x: x[:, :patches])


class _Filled:
    """What the slots hold from one layer on."""

    def __init__(self, made: Made, room: _Room, path: str) -> None:
        self.made, self.room, self.path = made, room, path

    def before(
        self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        layout = self.made.layout
        if not self.made.shown or layout is None:
            return None
        values, named = list(inputs), dict(named)
        x: Tensor = values[0] if values else named[HIDDEN]
        tokens = self.made.now[self.path]["tokens"].to(x.dtype)
        rows = (tokens if tokens.ndim == 3 else tokens.unsqueeze(0)).expand(len(x), -1, -1)
        if layout.slots is None:
            x = self._after_patches(x, rows)
            values = [_longer(v, rows.shape[1]) if isinstance(v, Layout) else v for v in values]
        else:
            slots = layout.slots.unsqueeze(-1)
            there = rows.gather(1, slots.clamp(min=0).expand(-1, -1, x.shape[-1]))
            x = torch.where(slots >= 0, there, x)
        if values:
            values[0] = x
        else:
            named[HIDDEN] = x
        return tuple(values), named

    def _after_patches(self, x: Tensor, rows: Tensor) -> Tensor:
        room = self.room
        if room.patches is None:
            room.patches = x.shape[1]
        return torch.cat((x[:, : room.patches], rows), 1)


class _Longer:
    """Layers before which no tokens are put keep to the layout that has them."""

    def __init__(self, made: Made, room: _Room) -> None:
        self.made, self.room = made, room

    def before(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self.made.shown or self.room.patches is None:
            return None
        count = self.room.count
        return tuple(_longer(v, count) if isinstance(v, Layout) else v for v in inputs)


def with_slots(stream: Stream, count: int) -> tuple[Stream, Tensor]:
    """Rows with ``count`` slots in front of each document, and where each token went [B T].

    A slot is of its document, at position 0.
    """
    ids, layout = stream.values, stream.layout
    segments = layout.segments
    before = nn.functional.pad(segments, (1, 0))[:, :-1]
    begins = (segments != before) & (segments > 0)
    most = int(begins.sum(1).max()) if layout.packed else 1
    places = torch.arange(ids.shape[1], device=ids.device) + count * begins.cumsum(1)
    shape = (len(ids), ids.shape[1] + count * most)
    rows = torch.arange(len(ids), device=ids.device)[:, None]

    def spread(x: Tensor, empty: int) -> Tensor:
        return x.new_full(shape, empty).index_put((rows, places), x)

    row = rows.expand_as(begins)[begins][:, None]
    at = (places - count)[begins][:, None] + torch.arange(count, device=ids.device)
    slots = torch.full(shape, -1, device=ids.device)
    slots[row, at] = torch.arange(count, device=ids.device).expand_as(at)
    segment = spread(segments, 0)
    segment[row, at] = segments[begins][:, None].expand_as(at)
    longer = replace(
        layout,
        positions=spread(layout.positions, 0),
        segments=segment,
        words=None if layout.words is None else spread(layout.words, 0),
        fixed=None if layout.fixed is None else spread(layout.fixed, 1),
        slots=slots,
    )
    return replace(stream, values=spread(ids, 0), layout=longer), places


def _longer(layout: Layout, count: int) -> Layout:
    """With so many tokens more behind, at position 0 of the row's document."""
    segments = layout.segments
    more = segments[:, :1].expand(-1, count)
    return replace(
        layout,
        positions=torch.cat((layout.positions, torch.zeros_like(more)), 1),
        segments=torch.cat((segments, more), 1),
    )


def _each(outputs: Outputs, change: Any) -> Outputs:
    return replace(
        outputs,
        hidden=change(outputs.hidden),
        taps={name: change(tap) for name, tap in outputs.taps.items()},
    )
