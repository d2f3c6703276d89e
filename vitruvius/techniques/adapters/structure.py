"""Where the parts of a network are: found by how it is built, not by the names of one library."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def layers_of(body: nn.Module) -> Mapping[str, nn.Module]:
    """Its layers by path, first to last; nothing where it has none.

    They are what the ModuleList or Sequential with the most parameters holds, the outermost of
    equals. What in it has no parameters is no layer.
    """
    best: dict[str, nn.Module] = {}
    most = 0
    for path, part in body.named_modules():
        if not isinstance(part, (nn.ModuleList, nn.Sequential)):
            continue
        layers = {
            f"{path}.{name}" if path else name: layer
            for name, layer in part.named_children()
            if any(True for _ in layer.parameters())
        }
        size = sum(p.numel() for p in part.parameters())
        if layers and size > most:
            best, most = layers, size
    return best


def embeds(part: nn.Module, name: str) -> bool:
    """Whether a module's own parameter of this name is a table that ids are looked up in."""
    kinds = getattr(part, "parameter_kinds", {})
    return isinstance(part, nn.Embedding) or kinds.get(name) == "embedding"


def trains(parameter: Tensor) -> bool:
    """Whether it can have a gradient: whole numbers of quantised weights have none."""
    return parameter.is_floating_point() or parameter.is_complex()
