"""Keys and values that every token sees beside those of its document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitruvius.contracts import Given, Part
from vitruvius.train.edits.carrier import Made, SourceCarrier
from vitruvius.train.sites import Located


@runtime_checkable
class TakesKeys(Protocol):
    """A body of another library that lets its attention see more keys."""

    def let_see_more(self, on: bool) -> None:
        """Whether its attention asks the module that calls it for ``prefix(key heads)``."""
        ...


class ExtraKeysCarrier(SourceCarrier):
    """Sets ``prefix`` of the attention modules."""

    def __init__(self, number: int, part: Part, found: Sequence[Located], given: Given) -> None:
        super().__init__(number, part, found, given)
        for one in self.found:
            if not isinstance(one.body, TakesKeys) and "prefix" not in _holder(one).__dict__:
                raise ValueError(
                    f"{type(part.edit).__name__} gives attention more keys, and that at "
                    f"{one.site.path} takes none. Take a branch or a weight delta."
                )
        self._before: list[tuple[nn.Module, dict[str, Any]]] = []

    def install(self) -> None:
        super().install()
        for body in self._bodies:
            if isinstance(body, TakesKeys):
                body.let_see_more(True)

    def uninstall(self) -> None:
        for part, kept in reversed(self._before):
            part.__dict__.pop("prefix", None)
            part.__dict__.update(kept)
        self._before = []
        for body in self._bodies:
            if isinstance(body, TakesKeys):
                body.let_see_more(False)
        super().uninstall()

    def hook(self, one: Located) -> Sequence[RemovableHandle]:
        part = _holder(one)
        kept = {"prefix": part.__dict__["prefix"]} if "prefix" in part.__dict__ else {}
        self._before.append((part, kept))
        part.__dict__["prefix"] = Prefix(self.made, one.site.path, kept.get("prefix"))
        return []

    def unmergeable(self) -> str | None:
        return "keys and values that no token has are no weights of the base"


class Prefix:
    """Called by an attention with its number of key heads."""

    def __init__(self, made: Made, path: str, before: Any = None) -> None:
        self.made, self.path, self.before = made, path, before

    def __call__(self, heads: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values [1 or B, heads, l, head width], those of an earlier part first."""
        first = None if self.before is None else self.before(heads)
        if not self.made.shown:
            return first
        tensors = self.made.now[self.path]
        keys, values = (_by_head(tensors[name], heads) for name in ("key", "value"))
        if first is None:
            return keys, values
        rows = max(len(first[0]), len(keys))
        return (
            torch.cat((first[0].expand(rows, -1, -1, -1), keys.expand(rows, -1, -1, -1)), 2),
            torch.cat((first[1].expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)), 2),
        )


def _by_head(tensor: Tensor, heads: int) -> Tensor:
    """[l d] or [B l d] to [1 or B, heads, l, d / heads]."""
    rows = tensor if tensor.ndim == 3 else tensor.unsqueeze(0)
    return rows.unflatten(-1, (heads, -1)).transpose(1, 2)


def _holder(one: Located) -> nn.Module:
    """The module that maps to queries, and attends."""
    return next(part for part in one.body.modules() if one.entry in part._modules.values())
