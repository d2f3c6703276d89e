"""Parameters that are read as something else, wherever a module reads them.

PyTorch's parametrisations do this, but copies of a module share the class that they make, and
taking one away takes it from all copies. Here a module gets a subclass of its own class, with
properties for what is changed, and that subclass is never written to: names, order and copies are
as before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

READ = "_read"  # the attribute that holds, by name, what changes a parameter on reading
Change = Callable[[Tensor], Tensor]


def read_as(module: nn.Module, name: str, change: Change) -> None:
    """Let ``module.name`` be ``change`` of the parameter; after those that were there before."""
    changes = vars(module).setdefault(READ, {})
    changes[name] = (*changes.get(name, ()), change)
    _become(module, changes)


def read_plain(module: nn.Module, name: str, change: Change) -> None:
    """Take a change away again."""
    changes = vars(module)[READ]
    left = tuple(one for one in changes[name] if one is not change)
    changes |= {name: left}
    if not left:
        del changes[name]
    _become(module, changes)
    if not changes:
        del vars(module)[READ]


def holders(roots: Iterator[nn.Module], parameter: nn.Parameter) -> list[tuple[nn.Module, str]]:
    """The modules in these that hold a parameter, and its name in each."""
    return [
        (part, own)
        for root in dict.fromkeys(roots)
        for part in root.modules()
        for own, held in part._parameters.items()
        if held is parameter
    ]


def _become(module: nn.Module, changes: dict[str, Any]) -> None:
    plain = getattr(type(module), "reread", type(module))
    module.__class__ = _rereading(plain, tuple(sorted(changes))) if changes else plain


@functools.cache
def _rereading(plain: type[nn.Module], names: tuple[str, ...]) -> type[nn.Module]:
    """The class with properties in place of these parameters; ``reread`` is what it was."""
    found: dict[str, Any] = {name: property(_Reading(name)) for name in names}
    return type(plain.__name__, (plain,), {**found, "reread": plain, "__module__": __name__})


class _Reading:
    """Reads one parameter."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: nn.Module) -> Tensor | None:
        value = module._parameters[self.name]
        if value is None:
            return None
        made: Tensor = value
        for change in vars(module)[READ][self.name]:
            made = change(made)
        return made
