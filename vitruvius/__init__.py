"""Takes a space of choices, data and a budget, and returns the best model that budget buys.

    import vitruvius
    result = vitruvius.search("digits", trials=20)
    print(result.best, result.test)

Names are loaded when they are first used, so that ``import vitruvius`` is quick.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitruvius.running import Result, load, resume, search
    from vitruvius.study.budget import Budget
    from vitruvius.study.study import Study

__version__ = "0.1.0"

_HOMES = {
    "search": "vitruvius.running",
    "resume": "vitruvius.running",
    "load": "vitruvius.running",
    "Result": "vitruvius.running",
    "Study": "vitruvius.study.study",
    "Budget": "vitruvius.study.budget",
}

__all__ = ["Budget", "Result", "Study", "__version__", "load", "resume", "search"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"vitruvius has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__


class _Searchers(ModuleType):
    """The package of searchers, called as the function of the same name."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        return importlib.import_module("vitruvius.running").search(*given, **named)


class _Package(ModuleType):
    """Python binds a package that is imported over the function ``search``: both must work."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "search" and isinstance(value, ModuleType):
            value.__class__ = _Searchers
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
