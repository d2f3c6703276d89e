"""Complete spaces to start from: one file each, a function of the file's name gives the space.

Nothing is imported until a recipe is asked for.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def recipes() -> dict[str, str]:
    """Names of all recipes, and what each is in a sentence."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        if not path.name.startswith("_"):
            words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            found[path.stem] = " ".join(words.split("\n\n")[0].split())
    return found


def recipe(name: str, source: str = "digits", target: str | None = None) -> Any:
    """The space of a recipe: a pipeline that reads ``source`` and predicts its ``target`` column.

    Raises ValueError for a name that is none, with what is near.
    """
    known = recipes()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"There is no recipe {name!r}; there is {', '.join(known)}.{hint}")
    module = importlib.import_module(f"{__name__}.{name}")
    return getattr(module, name)(source, target)


__all__ = ["recipe", "recipes"]
