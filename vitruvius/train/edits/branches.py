"""Computing beside a site: from what it reads and what it gives to what it gives now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitruvius.contracts import Branch, Tensors
from vitruvius.train.edits.carrier import (
    Made,
    SourceCarrier,
    first_input,
    output_of,
    with_output,
)
from vitruvius.train.sites import Located


class BranchCarrier(SourceCarrier):
    """Hooks where a site is entered and left."""

    def hook(self, one: Located) -> Sequence[RemovableHandle]:
        at = _Beside(self.made, one.site.path)
        return [
            one.entry.register_forward_pre_hook(at.before, with_kwargs=True),
            one.exit.register_forward_hook(at.after),
        ]

    def unmergeable(self) -> str | None:
        made, edit = self.made.alone(), self.edit
        assert isinstance(edit, Branch)
        with torch.no_grad():
            for one in self.found:
                plain = one.site.kind == "linear"
                if not plain or edit.delta(made[one.site.path], _weight(one)) is None:
                    return f"what it computes at {one.site.path} is no linear map of what it reads"
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

    def __init__(self, made: Made, path: str) -> None:
        self.made, self.path = made, path
        self.x: Tensor | None = None

    def before(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self.made.shown:
            self.x = first_input(inputs, named)

    def after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        made, edit, x = self.made, self.made.edit, self.x
        if not made.shown or x is None:
            return None
        assert isinstance(edit, Branch) and made.layout is not None
        y = output_of(output)
        changed, made.carried = edit.forward(made.now[self.path], x, y, made.layout, made.carried)
        self.x = None
        return with_output(output, changed)


def _weight(one: Located) -> Tensor:
    return one.module.get_parameter("weight")
