"""Computing beside a site: from what it reads and what it gives to what it gives now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitruvius.contracts import Branch, Outputs, Tensors
from vitruvius.train.edits.carrier import (
    Made,
    SourceCarrier,
    first_input,
    output_of,
    with_output,
)
from vitruvius.train.sites import Located

ORIGINAL = "original"  # the tap that asks for all edited sites


class BranchCarrier(SourceCarrier):
    """Hooks where a site is entered and left.

    A body that is asked for the tap "original" gives of each site what it gives now, under
    "1.ffn.down" (layer and place), and what it would give for the same input without the branch,
    under "1.ffn.down.original".
    """

    def install(self) -> None:
        for body in self._bodies:
            self._hooks.append(body.register_forward_pre_hook(_ask, with_kwargs=True))
        super().install()
        for body in self._bodies:
            self._hooks.append(body.register_forward_hook(_tell))

    def hook(self, one: Located) -> Sequence[RemovableHandle]:
        edit = self.edit
        assert isinstance(edit, Branch)
        place = "heads" if edit.of_heads else one.site.place
        at = _Beside(self.made, one.site.path, f"{one.site.depth}.{place}")
        before = one.entry.register_forward_pre_hook(at.before, with_kwargs=True)
        if edit.of_heads:
            return [before, one.exit.register_forward_pre_hook(at.within, with_kwargs=True)]
        return [before, one.exit.register_forward_hook(at.after)]

    def unmergeable(self) -> str | None:
        why = "what it computes at {} is no linear map of what it reads"
        for one in self.found:
            if one.site.kind != "linear":
                return why.format(one.site.path)
        made, edit = self.made.alone(), self.edit
        assert isinstance(edit, Branch)
        with torch.no_grad():
            for one in self.found:
                if edit.delta(made[one.site.path], _weight(one)) is None:
                    return why.format(one.site.path)
        return None

    def deltas(self) -> Tensors:
        if self.unmergeable() is not None:
            return {}
        made, edit = self.made.alone(), self.edit
        assert isinstance(edit, Branch)
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            for one in self.found:
                delta = edit.delta(made[one.site.path], _weight(one))
                assert delta is not None
                found[f"{one.site.path}.weight"] = delta
        return found


class _Beside:
    """A branch at one site. What the site reads is kept from its entry to its exit."""

    def __init__(self, made: Made, path: str, tap: str) -> None:
        self.made, self.path, self.tap = made, path, tap
        self.x: Tensor | None = None

    def before(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self.made.shown:
            self.x = first_input(inputs, named)

    def after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if not self.made.shown or self.x is None:
            return None
        return with_output(output, self.changed(output_of(output)))

    def within(
        self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Before the map back of an attention reads what the heads give."""
        if not self.made.shown or self.x is None:
            return None
        if inputs:
            return (self.changed(inputs[0]), *inputs[1:]), named
        name = next(name for name, value in named.items() if isinstance(value, Tensor))
        return inputs, {**named, name: self.changed(named[name])}

    def changed(self, y: Tensor) -> Tensor:
        made, edit, x = self.made, self.made.edit, self.x
        assert isinstance(edit, Branch) and made.layout is not None and x is not None
        changed, made.carried = edit.forward(made.now[self.path], x, y, made.layout, made.carried)
        self.x = None
        if made.compared is not None:
            made.compared |= {self.tap: changed, f"{self.tap}.{ORIGINAL}": y}
        return changed


def _ask(
    body: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """All parts of the body note what they change; the body itself is not asked."""
    stream, *rest = inputs
    taps = rest[0] if rest else named.get("taps", ())
    if ORIGINAL not in taps:
        return None
    for part in _parts(body):
        part.compared = {}
    return (stream, frozenset(taps) - {ORIGINAL}), {}


def _tell(body: nn.Module, inputs: tuple[Any, ...], outputs: Outputs) -> Outputs | None:
    found: dict[str, Tensor] = {}
    for part in _parts(body):
        told, part.compared = part.compared or {}, None
        # of several branches at one site the first saw what it was, the last what it is
        first = {n: t for n, t in told.items() if n.endswith(ORIGINAL) and n in found}
        found |= {n: t for n, t in told.items() if n not in first}
    return replace(outputs, taps={**outputs.taps, **found}) if found else None


def _parts(body: nn.Module) -> list[Made]:
    adapter = body._modules["adapter"]
    assert adapter is not None
    return [part for part in adapter.children() if isinstance(part, Made)]


def _weight(one: Located) -> Tensor:
    return one.module.get_parameter("weight")
